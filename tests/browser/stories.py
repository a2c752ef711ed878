"""What a driver says of a job with SFT and GRPO, as records of the real event types."""

from __future__ import annotations

from typing import Any

from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    Difference,
    EvaluationCompared,
    EvaluationCompleted,
    Measured,
    PreflightCompleted,
    PromptQuarantined,
    Sample,
    SamplesDrawn,
    StageStarted,
    StepCompleted,
)
from rlhf_service.reports import PhaseSeconds, PpoReport
from tests.api.world import World
from tests.api.world import step as sft_step

STEPS = 20
ADVICE = "the policy runs away from the reference: raise ppo.kl.coef"
ALARM = AlarmRaised(
    stage="grpo", step=2, alarm="kl_per_token", value=1.25, threshold=1.0, advice=ADVICE
)
CLEARED = AlarmCleared(stage="grpo", step=4, alarm="kl_per_token")
PREFLIGHT = PreflightCompleted(
    stage="grpo",
    n=128,
    mean=0.25,
    standard_deviation=0.5,
    quartiles=(0.0, 0.125, 0.5),
    failures={},
    equal_groups=0.375,
    scores_per_second=800.0,
    trivial={"empty": 0.0, "the prompt back": 0.75},
    warnings=("the answer 'the prompt back' scores 0.75",),
)
COMPARED = EvaluationCompared(
    stage="grpo",
    step=STEPS,
    differences=(
        Difference(
            name="reward",
            before=0.125,
            after=0.5,
            difference=0.375,
            low=0.25,
            high=0.4375,
            p_value=0.0002,
            n=64,
        ),
        Difference(
            name="chrf",
            before=0.5,
            after=0.5,
            difference=0.0,
            low=-0.1,
            high=0.1,
            p_value=1.0,
            n=64,
        ),
    ),
)
QUARANTINED = PromptQuarantined(stage="grpo", step=2, prompt=7, message="the service said 500")
CHECKPOINT = CheckpointSaved(stage="grpo", step=2, path="/jobs/a/checkpoints/grpo-2", seconds=1.5)

WORK = {
    "flops_per_second": 2e10,
    "update_flops_per_second": 4e10,
    "peak_flops_per_second": 8e10,
}
"""Figures of a stage whose processor's peak was measured."""


def ppo_step(step: int, score: float, kl: float = 0.5, **changes: Any) -> StepCompleted:
    report = PpoReport(
        policy_version=step,
        responses=64,
        quarantined=0,
        score_mean=score,
        score_std=0.25,
        score_min=0.0,
        score_max=1.0,
        components={"chrf": score, "brevity": 0.75},
        return_mean=score,
        kl=kl,
        kl_k3=kl,
        kl_coef=0.01,
        entropy=2.5,
        response_length_mean=12.5,
        response_length_max=32,
        truncated_fraction=0.0,
        policy_loss=0.125,
        value_loss=0.0,
        approx_kl=1e-4,
        clip_fraction_low=0.0,
        clip_fraction_high=0.0,
        value_clip_fraction=0.0,
        advantage_mean=0.0,
        advantage_std=1.0,
        explained_variance=0.0,
        equal_groups_fraction=0.25,
        policy_grad_norm=0.5,
        critic_grad_norm=0.0,
        learning_rate=1e-4,
        critic_learning_rate=1e-5,
        sampler_difference_mean=1e-7,
        sampler_difference_max=1e-6,
        importance_weight_max=1.0,
        tokens_per_second=250.0,
        generate_tokens_per_second=900.0,
        seconds=PhaseSeconds(generate=1.0, decode_tail=0.25, update=2.0, optimizer=0.5, total=3.0),
    )
    report = report.model_copy(update=changes)
    return StepCompleted(stage="grpo", step=step, steps=STEPS, report=report)


def evaluated(step: int, mean: float, response: str) -> EvaluationCompleted:
    sample = Sample(
        prompt="<b>who</b> = ", response=response, score=mean, components={"chrf": mean / 2}
    )
    return EvaluationCompleted(
        stage="grpo",
        step=step,
        mean=mean,
        standard_error=0.03125,
        n=64,
        metrics=(Measured(name="chrf", mean=mean / 2, standard_error=0.0625, n=64),),
        samples=(sample,),
    )


def drawn(step: int, response: str) -> SamplesDrawn:
    sample = Sample(prompt="how = ", response=response, score=0.5, truncated=True)
    return SamplesDrawn(stage="grpo", step=step, samples=(sample,))


def two_stages(world: World) -> list[dict[str, Any]]:
    """SFT and GRPO on the world's file."""
    (first,) = world.spec()["stages"]
    reward = {"type": "length", "target": 9}
    return [
        first,
        {"type": "grpo", "prompts": first["data"], "reward": reward, "steps": STEPS},
    ]


async def grpo_job(world: World, scores: tuple[float, ...] = (0.125, 0.25), **changes: Any) -> Any:
    """(id, driver) of a job that is at work on its second stage."""
    job_id, driver = await world.started(stages=two_stages(world), **changes)
    await driver.say(
        sft_step(2, loss=1.5),
        StageStarted(stage="grpo", kind="grpo", steps=STEPS),
        PREFLIGHT,
        evaluated(0, 0.125, "él"),
        *(ppo_step(n, score) for n, score in enumerate(scores, 1)),
    )
    return job_id, driver
