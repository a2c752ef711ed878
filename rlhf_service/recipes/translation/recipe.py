"""The job: SFT → GRPO against chrF and BLEU, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.recipes.small import against, baseline, small_job, small_llama
from rlhf_service.spec import DataSpec, EvaluationSpec, JobSpec
from rlhf_service.spec.graders import ChrfReward, TextSimilarityReward
from rlhf_service.spec.reward import MultiReward

CONTEXT = 64
CHRF = ChrfReward()
BLEU = TextSimilarityReward(name="bleu", evaluation_metric="bleu")
# Against chrF alone the policy gives up BLEU for more characters.
CHRF_AND_BLEU = MultiReward(
    name="chrf_and_bleu",
    graders={"chrf": CHRF, "bleu": BLEU},
    calculate_output="(chrf + bleu) / 2",
)


def translation_spec(data: AnswerData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    evaluation = EvaluationSpec(
        prompts=DataSpec(path=str(data.prompts_held_out)), num_prompts=600, metrics=(CHRF, BLEU)
    )
    stages = (
        baseline(
            data,
            steps=280,
            batch_size=128,
            max_length=48,
            learning_rate=3e-3,
            validation_rows=256,
        ),
        against(
            CHRF_AND_BLEU,
            data,
            evaluation,
            steps=80,
            prompts_per_step=16,
            max_prompt_length=40,
            max_new_tokens=24,
            learning_rate=3e-4,
        ),
    )
    return small_job("translation", seed, small_llama(CONTEXT, vocab_size=2000), stages)
