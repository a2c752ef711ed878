"""The job: SFT → GRPO against SQuAD's F1, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from rlhf_service.recipes.question_answering.data import QuestionData
from rlhf_service.recipes.small import LEARNER, RESOURCES, small_llama
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
from rlhf_service.spec.graders import ExactMatchReward, TokenF1Reward

CONTEXT = 112
MAX_NEW_TOKENS = 12


def question_answering_spec(data: QuestionData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    return JobSpec(
        name="question-answering",
        labels={"recipe": "question-answering"},
        seed=seed,
        model=small_llama(CONTEXT, vocab_size=1500),
        stages=(
            SftStage(
                data=DataSpec(path=str(data.sft)),
                validation=DataSpec(path=str(data.sft_held_out)),
                steps=240,
                batch_size=32,
                max_length=CONTEXT,
                optimizer=OptimizerSpec(
                    learning_rate=2e-3, schedule="cosine", warmup_steps=20, weight_decay=0.1
                ),
            ),
            PpoStage(
                type="grpo",
                prompts=DataSpec(path=str(data.prompts)),
                reward=TokenF1Reward(),
                steps=60,
                prompts_per_step=16,
                samples_per_prompt=8,
                max_prompt_length=CONTEXT - MAX_NEW_TOKENS,
                sampling=SamplingSpec(max_new_tokens=MAX_NEW_TOKENS),
                ppo=PpoSpec(epochs=1, minibatches=2, truncation_penalty=0.1, kl=KlSpec(coef=0.01)),
                optimizer=OptimizerSpec(learning_rate=6e-4, warmup_steps=4, schedule="linear"),
                evaluation=EvaluationSpec(
                    prompts=DataSpec(path=str(data.prompts_held_out)),
                    num_prompts=400,
                    samples_per_prompt=2,
                    metrics=(ExactMatchReward(),),
                ),
            ),
        ),
        learner=LEARNER,
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )
