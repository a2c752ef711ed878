"""The job: SFT → GRPO against ROUGE-L, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.recipes.small import against, baseline, small_job, small_llama
from rlhf_service.spec import DataSpec, EvaluationSpec, JobSpec
from rlhf_service.spec.graders import TextSimilarityReward

CONTEXT = 192
MAX_NEW_TOKENS = 40


def summarisation_spec(data: AnswerData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    evaluation = EvaluationSpec(
        prompts=DataSpec(path=str(data.prompts_held_out)),
        num_prompts=200,
        metrics=(TextSimilarityReward(name="rouge_1", evaluation_metric="rouge_1"),),
    )
    stages = (
        baseline(data, steps=100, batch_size=32, max_length=CONTEXT, learning_rate=2e-3),
        against(
            TextSimilarityReward(name="rouge_l", evaluation_metric="rouge_l"),
            data,
            evaluation,
            steps=40,
            prompts_per_step=8,
            max_prompt_length=CONTEXT - MAX_NEW_TOKENS,
            max_new_tokens=MAX_NEW_TOKENS,
            learning_rate=3e-4,
            truncation_penalty=0.1,
        ),
    )
    return small_job("summarisation", seed, small_llama(CONTEXT, vocab_size=3000), stages)
