"""The job: SFT → reward model → PPO, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.reviews.data import ReviewData
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
    RewardStage,
    SamplingSpec,
    ScratchModel,
    SftStage,
    StageModel,
)
from rlhf_service.spec.reward import RewardModelReward
from rlhf_service.spec.stages import StageSpec

CONTEXT = 64


def reviews_spec(data: ReviewData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    return JobSpec(
        name="reviews",
        labels={"recipe": "reviews"},
        seed=seed,
        model=ScratchModel(
            architecture="llama",
            hidden_size=128,
            num_layers=3,
            num_heads=4,
            context_length=CONTEXT,
            vocab_size=2048,
        ),
        stages=(
            SftStage(
                data=DataSpec(path=str(data.sft)),
                validation=DataSpec(path=str(data.sft_held_out), limit=256),
                steps=220,
                batch_size=64,
                max_length=CONTEXT,
                optimizer=OptimizerSpec(
                    learning_rate=3e-3, schedule="cosine", warmup_steps=20, weight_decay=0.1
                ),
            ),
            RewardStage(
                data=DataSpec(path=str(data.pairs)),
                validation=DataSpec(path=str(data.pairs_held_out), limit=256),
                steps=60,
                batch_size=64,
                max_length=CONTEXT,
                optimizer=OptimizerSpec(learning_rate=1e-3, schedule="cosine", warmup_steps=10),
            ),
            PpoStage(
                prompts=DataSpec(path=str(data.prompts)),
                reward=RewardModelReward(model=StageModel(stage="reward")),
                critic=StageModel(stage="reward"),
                steps=26,
                prompts_per_step=64,
                max_prompt_length=24,
                sampling=SamplingSpec(max_new_tokens=32),
                ppo=PpoSpec(
                    epochs=2,
                    minibatches=4,
                    kl=KlSpec(coef=0.1),
                    truncation_penalty=1.0,
                ),
                optimizer=OptimizerSpec(learning_rate=4e-4),
                critic_optimizer=OptimizerSpec(learning_rate=5e-4),
                evaluation=EvaluationSpec(
                    prompts=DataSpec(path=str(data.prompts_held_out)), num_prompts=192
                ),
            ),
        ),
        learner=LearnerSpec(micro_batch_size=16),
        resources=ResourceSpec(
            learner=LearnerResources(num_workers=1, cpus_per_worker=1, threads=2),
            rollout=PoolResources(num_actors=1, cpus_per_actor=0.5, threads=2),
            reward=PoolResources(num_actors=1, cpus_per_actor=0.25, threads=2),
        ),
        checkpoint=CheckpointSpec(every=20),
    )


def on_lstm(spec: JobSpec) -> JobSpec:
    """The same job on two LSTM layers, one thread a process: a time step is too small to share.

    Without normalisation layers it takes larger steps than a decoder of its width.
    """
    sft, reward, ppo = spec.stages
    alone = {"threads": 1}
    resources = ResourceSpec(
        learner=spec.resources.learner.model_copy(update=alone),
        rollout=spec.resources.rollout.model_copy(update=alone),
        reward=spec.resources.reward.model_copy(update=alone),
    )
    model = ScratchModel(
        architecture="lstm", hidden_size=128, num_layers=2, context_length=CONTEXT, vocab_size=2048
    )
    changes = {
        "name": "lstm",
        "labels": {"recipe": "lstm"},
        "model": model,
        "stages": (learning(sft, 1e-2), learning(reward, 3e-3), learning(ppo, 1e-3)),
        "resources": resources,
    }
    return spec.model_copy(update=changes)


def learning(stage: StageSpec, rate: float) -> StageSpec:
    """The stage with another learning rate of its network."""
    optimizer = stage.optimizer.model_copy(update={"learning_rate": rate})
    return stage.model_copy(update={"optimizer": optimizer})
