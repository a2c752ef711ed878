"""What the recipes with right answers share: SFT, then GRPO, on a machine of two cores."""

from __future__ import annotations

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.spec import (
    CheckpointSpec,
    DataSpec,
    EvaluationSpec,
    JobSpec,
    KlSpec,
    LearnerResources,
    LearnerSpec,
    OptimizerSpec,
    PoolResources,
    PpoSpec,
    PpoStage,
    ResourceSpec,
    SamplingSpec,
    ScratchModel,
    SftStage,
)
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.spec.stages import StageSpec

LEARNER = LearnerSpec(micro_batch_size=32)

RESOURCES = ResourceSpec(
    learner=LearnerResources(num_workers=1, cpus_per_worker=1, threads=2),
    rollout=PoolResources(num_actors=1, cpus_per_actor=0.5, threads=2),
    reward=PoolResources(num_actors=1, cpus_per_actor=0.25, threads=2),
)


def small_llama(context_length: int, vocab_size: int) -> ScratchModel:
    """A Llama-style network of one to two million weights."""
    return ScratchModel(
        architecture="llama",
        hidden_size=192,
        num_layers=3,
        num_heads=4,
        context_length=context_length,
        vocab_size=vocab_size,
    )


def small_job(name: str, seed: int, model: ScratchModel, stages: tuple[StageSpec, ...]) -> JobSpec:
    """The stages as a job of this machine's size."""
    return JobSpec(
        name=name,
        labels={"recipe": name},
        seed=seed,
        model=model,
        stages=stages,
        learner=LEARNER,
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )


def baseline(
    data: AnswerData,
    *,
    steps: int,
    batch_size: int,
    max_length: int,
    learning_rate: float,
    validation_rows: int | None = None,
) -> SftStage:
    """SFT on the right answers."""
    return SftStage(
        data=DataSpec(path=str(data.sft)),
        validation=DataSpec(path=str(data.sft_held_out), limit=validation_rows),
        steps=steps,
        batch_size=batch_size,
        max_length=max_length,
        optimizer=OptimizerSpec(
            learning_rate=learning_rate, schedule="cosine", warmup_steps=20, weight_decay=0.1
        ),
    )


def against(
    reward: RewardSpec,
    data: AnswerData,
    evaluation: EvaluationSpec,
    *,
    steps: int,
    prompts_per_step: int,
    max_prompt_length: int,
    max_new_tokens: int,
    learning_rate: float,
    truncation_penalty: float = 0.0,
) -> PpoStage:
    """GRPO with eight responses a prompt, each batch learnt from once."""
    return PpoStage(
        type="grpo",
        prompts=DataSpec(path=str(data.prompts)),
        reward=reward,
        steps=steps,
        prompts_per_step=prompts_per_step,
        samples_per_prompt=8,
        max_prompt_length=max_prompt_length,
        sampling=SamplingSpec(max_new_tokens=max_new_tokens),
        ppo=PpoSpec(
            epochs=1,
            minibatches=2,
            truncation_penalty=truncation_penalty,
            kl=KlSpec(coef=0.01),
        ),
        optimizer=OptimizerSpec(learning_rate=learning_rate, warmup_steps=4, schedule="linear"),
        evaluation=evaluation,
    )
