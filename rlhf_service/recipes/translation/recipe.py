"""The job: SFT → GRPO against chrF and BLEU, sized for two CPU cores and a few minutes."""

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
from rlhf_service.spec.reward import MultiReward

CONTEXT = 64
CHRF = ChrfReward()
BLEU = TextSimilarityReward(name="bleu", evaluation_metric="bleu")


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
                type="grpo",
                prompts=DataSpec(path=str(data.prompts)),
                # Against chrF alone the policy gives up BLEU for more characters.
                reward=MultiReward(
                    name="chrf_and_bleu",
                    graders={"chrf": CHRF, "bleu": BLEU},
                    calculate_output="(chrf + bleu) / 2",
                ),
                steps=80,
                prompts_per_step=16,
                samples_per_prompt=8,
                max_prompt_length=40,
                sampling=SamplingSpec(max_new_tokens=24),
                ppo=PpoSpec(epochs=1, minibatches=2, kl=KlSpec(coef=0.01)),
                optimizer=OptimizerSpec(learning_rate=3e-4, warmup_steps=4, schedule="linear"),
                evaluation=EvaluationSpec(
                    prompts=DataSpec(path=str(data.prompts_held_out)),
                    num_prompts=600,
                    metrics=(CHRF, BLEU),
                ),
            ),
        ),
        learner=LEARNER,
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )
