"""The job: SFT → GRPO against SQuAD's F1, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.recipes.small import against, baseline, small_job, small_llama
from rlhf_service.spec import DataSpec, EvaluationSpec, JobSpec
from rlhf_service.spec.graders import ExactMatchReward, TokenF1Reward

CONTEXT = 112
MAX_NEW_TOKENS = 12


def question_answering_spec(data: AnswerData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    evaluation = EvaluationSpec(
        prompts=DataSpec(path=str(data.prompts_held_out)),
        num_prompts=400,
        samples_per_prompt=2,
        metrics=(ExactMatchReward(),),
    )
    stages = (
        baseline(data, steps=240, batch_size=32, max_length=CONTEXT, learning_rate=2e-3),
        against(
            TokenF1Reward(),
            data,
            evaluation,
            steps=60,
            prompts_per_step=16,
            max_prompt_length=CONTEXT - MAX_NEW_TOKENS,
            max_new_tokens=MAX_NEW_TOKENS,
            learning_rate=6e-4,
            truncation_penalty=0.1,
        ),
    )
    return small_job("question-answering", seed, small_llama(CONTEXT, vocab_size=1500), stages)
