"""The job: SFT → GRPO against exact answers, with a calculator between the policy's turns."""

from __future__ import annotations

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.recipes.small import against, baseline, small_job, small_llama
from rlhf_service.spec import DataSpec, EvaluationSpec, JobSpec
from rlhf_service.spec.environment import CalculatorSpec
from rlhf_service.spec.graders import ExactMatchReward

EXACT = ExactMatchReward()


def calculator_spec(data: AnswerData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    evaluation = EvaluationSpec(prompts=DataSpec(path=str(data.prompts_held_out)), num_prompts=256)
    grpo = against(
        EXACT,
        data,
        evaluation,
        steps=40,
        prompts_per_step=16,
        max_prompt_length=16,
        max_new_tokens=40,
        learning_rate=3e-4,
    )
    stages = (
        baseline(
            data,
            steps=700,
            batch_size=128,
            max_length=56,
            learning_rate=2e-3,
            validation_rows=256,
        ),
        grpo.model_copy(update={"environment": CalculatorSpec()}),
    )
    return small_job("calculator", seed, small_llama(64, vocab_size=1500), stages)
