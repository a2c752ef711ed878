"""The job: GRPO against chrF on an adapter of a real instruct model, sized for two CPU cores."""

from __future__ import annotations

from rlhf_service.recipes.instruct.data import InstructData
from rlhf_service.recipes.small import RESOURCES
from rlhf_service.recipes.translation.recipe import BLEU, CHRF
from rlhf_service.spec import (
    CheckpointSpec,
    DataSpec,
    EvaluationSpec,
    JobSpec,
    KlSpec,
    LearnerSpec,
    OptimizerSpec,
    PpoSpec,
    PpoStage,
    SamplingSpec,
)
from rlhf_service.spec.adapter import LoraSpec
from rlhf_service.spec.graders import TextSimilarityReward
from rlhf_service.spec.model import FolderModel
from rlhf_service.spec.reward import MultiReward

# Names and punctuation make the English sentence itself worth a little: it must not be the answer.
TRANSLATED = MultiReward(
    name="translated",
    graders={
        "chrf": CHRF,
        "bleu": BLEU,
        "echo": TextSimilarityReward(
            name="echo", evaluation_metric="fuzzy_match", reference="{{item.english}}"
        ),
    },
    calculate_output="(chrf + bleu) / 2 - max(echo - 0.5, 0)",
)


def instruct_spec(data: InstructData, seed: int) -> JobSpec:
    """The whole job on prepared data."""
    grpo = PpoStage(
        type="grpo",
        adapter=LoraSpec(rank=16, alpha=32),
        prompts=DataSpec(path=str(data.prompts)),
        reward=TRANSLATED,
        steps=24,
        prompts_per_step=4,
        samples_per_prompt=8,
        max_prompt_length=64,
        sampling=SamplingSpec(max_new_tokens=24),
        ppo=PpoSpec(epochs=1, minibatches=2, truncation_penalty=0.2, kl=KlSpec(coef=0.02)),
        optimizer=OptimizerSpec(learning_rate=1e-3, warmup_steps=2, schedule="linear"),
        evaluation=EvaluationSpec(
            prompts=DataSpec(path=str(data.prompts_held_out)), num_prompts=160, metrics=(CHRF, BLEU)
        ),
    )
    return JobSpec(
        name="instruct",
        labels={"recipe": "instruct"},
        seed=seed,
        model=FolderModel(path=str(data.model)),
        stages=(grpo,),
        learner=LearnerSpec(micro_batch_size=16),
        resources=RESOURCES,
        checkpoint=CheckpointSpec(every=100),
    )
