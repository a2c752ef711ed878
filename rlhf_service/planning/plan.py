"""JobSpec → JobPlan. Pure but for config files and the headers of weights."""

from __future__ import annotations

from rlhf_service.planning.device import DeviceProfile
from rlhf_service.planning.fitting import fit
from rlhf_service.planning.networks import Networks, Unknown
from rlhf_service.planning.parts import Setting, StageParts, stage_parts
from rlhf_service.planning.records import Estimate, JobPlan, Phase, StagePlan, times, total
from rlhf_service.planning.roles import roles
from rlhf_service.planning.timing import Clock
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.stages import PpoStage, StageSpec

ASSUMPTIONS = (
    "every row and every response is as long as the spec allows, so times are upper bounds",
    "the reduce and gather buffers of DeepSpeed 0.19 at their default sizes",
    "start-up, validation, checkpoints and waiting for a turn on the cluster are not counted",
)
ASSUMED_OF_GPUS = (
    "GPU times follow from makers' public figures and the shares of them that one H100 reached"
)
ASSUMED_OF_WORDS = (
    "a tokenizer that is trained in the job has all of vocab_size; on little data it has fewer"
)
ASSUMED_OF_RANKS = "all ranks run; with fewer of them (min_workers) every step takes longer"
UNCALIBRATED = "this machine was not measured; run `rlhf calibrate` on it"
NO_GPU = (
    "the learners run on GPUs; none of the catalogue was named to plan for, and none was measured by "
    "`rlhf calibrate --device cuda`"
)


def plan_job(spec: JobSpec, setting: Setting) -> JobPlan:
    """Memory of each role, time of each stage, and whether it fits."""
    networks, device = Networks(spec), setting.device(spec)
    found = [stage_parts(spec, stage, networks) for stage in spec.stages]
    memory = roles(spec, found, setting)
    stages = tuple(
        stage_plan(spec, stage, parts, device)
        for stage, parts in zip(spec.stages, found, strict=True)
    )
    verdict = fit(spec, memory, setting.host, setting.gpu)
    unknown = [parts.why for parts in found if isinstance(parts, Unknown)]
    missing = NO_GPU if spec.resources.on_gpu else UNCALIBRATED
    assumptions = [*ASSUMPTIONS]
    if spec.resources.on_gpu and not (device is not None and device.measured):
        assumptions.append(ASSUMED_OF_GPUS)
    if spec.model.type == "scratch":
        assumptions.append(ASSUMED_OF_WORDS)
    reasons = [*verdict.reasons, *dict.fromkeys(unknown)]
    if spec.resources.learner.elastic:
        assumptions.append(ASSUMED_OF_RANKS)
        reasons += with_fewest(spec, setting) if verdict.fits else []
    return JobPlan(
        device=device.name if device else "unknown",
        source=device.source if device else missing,
        memory=memory,
        stages=stages,
        seconds=total(stage.seconds for stage in stages),
        fits=verdict.fits,
        reasons=tuple(reasons),
        advice=(),
        assumptions=tuple(assumptions),
    )


def with_fewest(spec: JobSpec, setting: Setting) -> list[str]:
    """Why the job would not fit with the fewest ranks, each of which holds a larger part."""
    fewest = spec.resources.learner.fewest
    raw = spec.model_dump(mode="json")
    raw["resources"]["learner"] |= {"num_workers": fewest, "min_workers": None}
    plan = plan_job(JobSpec.model_validate(raw), setting)
    at = f"resources.learner.min_workers: with only {fewest} of the learner ranks it would not fit"
    return [f"{at}: {reason}" for reason in plan.reasons] if plan.fits is False else []


def stage_plan(
    spec: JobSpec, stage: StageSpec, parts: StageParts | Unknown, device: DeviceProfile | None
) -> StagePlan:
    """The stage's time. Of an unknown network nothing is said but why."""
    if isinstance(parts, Unknown):
        why = Estimate.none(parts.why)
        return StagePlan(
            stage=stage.name,
            kind=stage.type,
            steps=stage.steps,
            parameters=None,
            trained=None,
            phases={"update": why},
            step=why,
            seconds=why,
        )
    policy = parts.policy
    phases: dict[Phase, Estimate]
    if device is None:
        why = Estimate.none(NO_GPU if spec.resources.on_gpu else UNCALIBRATED)
        phases = {"update": why}
        step = seconds = why
    else:
        clock = Clock(spec=spec, profile=device)
        phases = clock.phases(stage, parts.work, policy, parts.critic, parts.scorers)
        step = clock.step(stage, phases)
        seconds = times(stage.steps, step)
        if isinstance(stage, PpoStage) and stage.evaluation is not None:
            held = stage.evaluation
            looks = 2 + (stage.steps - 1) // held.every if held.every else 2
            drawn = held.num_prompts * held.samples_per_prompt
            work = parts.work
            once = clock.generate(policy, drawn, work.prompt_length, work.new_tokens)
            seconds = total([seconds, times(looks, once)])
    return StagePlan(
        stage=stage.name,
        kind=stage.type,
        steps=stage.steps,
        parameters=policy.parameters + (policy.learning if policy.lora else 0),
        trained=policy.learning,
        phases=phases,
        step=step,
        seconds=seconds,
    )
