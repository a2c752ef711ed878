"""The job: SFT → RLOO against chrF, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.small import LEARNER, RESOURCES, small_llama
from rlhf_service.recipes.translation.data import TranslationData
from rlhf_service.spec import (
    CheckpointSpec,
    DataSpec,
    EvaluationSpec,
    JobSpec,
    KlSpec,
    OptimizerSpec,
    PpoSpec,
    PpoStage,
    SamplingSpec,
    SftStage,
)
from rlhf_service.spec.graders import ChrfReward, TextSimilarityReward

CONTEXT = 64


def translation_spec(data: TranslationData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    return JobSpec(
        name="translation",
        labels={"recipe": "translation"},
        seed=seed,
        model=small_llama(CONTEXT, vocab_size=2000),
        stages=(
            SftStage(
                data=DataSpec(path=str(data.sft)),
                validation=DataSpec(path=str(data.sft_held_out), limit=256),
                steps=280,
                batch_size=128,
                max_length=48,
                optimizer=OptimizerSpec(
                    learning_rate=3e-3, schedule="cosine", warmup_steps=20, weight_decay=0.1
                ),
            ),
            PpoStage(
                type="rloo",
                prompts=DataSpec(path=str(data.prompts)),
                reward=ChrfReward(),
                steps=80,
                prompts_per_step=16,
                samples_per_prompt=8,
                max_prompt_length=40,
                sampling=SamplingSpec(max_new_tokens=24),
                ppo=PpoSpec(kl=KlSpec(coef=0.01)),
                optimizer=OptimizerSpec(learning_rate=1e-3, schedule="linear"),
                evaluation=EvaluationSpec(
                    prompts=DataSpec(path=str(data.prompts_held_out)),
                    num_prompts=600,
                    metrics=(TextSimilarityReward(name="bleu", evaluation_metric="bleu"),),
                ),
            ),
        ),
        learner=LEARNER,
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )
