"""The job: SFT → GRPO against ROUGE-L, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.small import LEARNER, RESOURCES, small_llama
from rlhf_service.recipes.summarisation.data import SummaryData
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
from rlhf_service.spec.graders import TextSimilarityReward

CONTEXT = 192
MAX_NEW_TOKENS = 40


def summarisation_spec(data: SummaryData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    return JobSpec(
        name="summarisation",
        labels={"recipe": "summarisation"},
        seed=seed,
        model=small_llama(CONTEXT, vocab_size=3000),
        stages=(
            SftStage(
                data=DataSpec(path=str(data.sft)),
                validation=DataSpec(path=str(data.sft_held_out)),
                steps=100,
                batch_size=32,
                max_length=CONTEXT,
                optimizer=OptimizerSpec(
                    learning_rate=2e-3, schedule="cosine", warmup_steps=20, weight_decay=0.1
                ),
            ),
            PpoStage(
                type="grpo",
                prompts=DataSpec(path=str(data.prompts)),
                reward=TextSimilarityReward(name="rouge_l", evaluation_metric="rouge_l"),
                steps=40,
                prompts_per_step=8,
                samples_per_prompt=8,
                max_prompt_length=CONTEXT - MAX_NEW_TOKENS,
                sampling=SamplingSpec(max_new_tokens=MAX_NEW_TOKENS),
                ppo=PpoSpec(epochs=1, minibatches=2, truncation_penalty=0.1, kl=KlSpec(coef=0.01)),
                optimizer=OptimizerSpec(learning_rate=3e-4, warmup_steps=4, schedule="linear"),
                evaluation=EvaluationSpec(
                    prompts=DataSpec(path=str(data.prompts_held_out)),
                    num_prompts=200,
                    metrics=(TextSimilarityReward(name="rouge_1", evaluation_metric="rouge_1"),),
                ),
            ),
        ),
        learner=LEARNER,
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )
