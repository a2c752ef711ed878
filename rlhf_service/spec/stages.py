"""One section for each kind of stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_service.spec.base import Section
from rlhf_service.spec.data import DataSpec
from rlhf_service.spec.learner import OptimizerSpec
from rlhf_service.spec.model import ModelSpec
from rlhf_service.spec.ppo import GateSpec, PpoSpec, SamplingSpec
from rlhf_service.spec.reward import RewardSpec

StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class SupervisedStage(Section):
    """What pretraining, SFT and reward modelling share."""

    model: ModelSpec | None = None
    """Where the stage starts; the job's model, or the last policy trained, when absent."""

    data: DataSpec
    """Training rows."""

    validation: DataSpec | None = None
    """Held-out rows; when absent, `holdout` of the training rows are set aside."""

    holdout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training rows set aside for validation when `validation` is absent."""

    steps: int = Field(default=100, ge=1)
    """Optimiser steps."""

    batch_size: int = Field(default=32, ge=1)
    """Rows in one optimiser step, over all ranks."""

    max_length: int = Field(default=256, ge=2)
    """Longest row in tokens."""

    optimizer: OptimizerSpec = OptimizerSpec(learning_rate=1e-4)
    """Adam and its schedule."""


class PretrainStage(SupervisedStage):
    """Next-token prediction on `text` rows packed into blocks of max_length tokens."""

    type: Literal["pretrain"] = "pretrain"
    name: StageName = "pretrain"
    """How later stages refer to this one."""


class SftStage(SupervisedStage):
    """Next-token prediction on completions; prompts carry no loss."""

    type: Literal["sft"] = "sft"
    name: StageName = "sft"
    """How later stages refer to this one."""


class RewardStage(SupervisedStage):
    """Bradley–Terry reward model on preference pairs (Stiennon et al. 2020)."""

    type: Literal["reward"] = "reward"
    name: StageName = "reward"
    """How later stages refer to this one."""


class EvaluationSpec(Section):
    """Held-out evaluation of a policy by the stage's reward."""

    prompts: DataSpec
    """Held-out prompts; never trained on."""

    num_prompts: int = Field(default=64, ge=2)
    """How many of them, from the first."""

    samples_per_prompt: int = Field(default=1, ge=1)
    """Responses drawn for each."""

    every: int | None = Field(default=None, ge=1)
    """Also evaluate each this many steps; before and after only, when absent."""


class PpoStage(Section):
    """PPO against a reward."""

    type: Literal["ppo"] = "ppo"
    name: StageName = "ppo"
    """How later stages refer to this one."""

    model: ModelSpec | None = None
    """Policy, and its frozen reference; the job's model, or the last policy trained, when absent."""

    critic: ModelSpec | None = None
    """Where the critic's trunk starts (a reward model's folder works too); the policy when absent."""

    prompts: DataSpec
    """Rows with a `prompt`; other columns travel to the reward as `item`."""

    reward: RewardSpec
    """What scores a response."""

    steps: int = Field(default=50, ge=1)
    """PPO steps: each samples, scores and learns from one batch."""

    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts of one step, over all ranks."""

    samples_per_prompt: int = Field(default=1, ge=1)
    """Responses drawn for each prompt."""

    max_prompt_length: int = Field(default=128, ge=1)
    """A longer prompt is refused."""

    sampling: SamplingSpec = SamplingSpec()
    """How responses are drawn."""

    ppo: PpoSpec = PpoSpec()
    """The update."""

    optimizer: OptimizerSpec = OptimizerSpec(learning_rate=1e-5)
    """The policy's Adam."""

    critic_optimizer: OptimizerSpec = OptimizerSpec(learning_rate=1e-5)
    """The critic's Adam."""

    gate: GateSpec = GateSpec()
    """Checks before the first update."""

    evaluation: EvaluationSpec | None = None
    """Held-out reward before and after."""

    sample_every: int = Field(default=5, ge=1)
    """Show a few samples each this many steps."""

    @model_validator(mode="after")
    def minibatches_hold_a_sequence(self) -> PpoStage:
        sequences = self.prompts_per_step * self.samples_per_prompt
        if self.ppo.minibatches > sequences:
            raise ValueError(
                f"ppo.minibatches is {self.ppo.minibatches} but a step has only {sequences} responses "
                "(prompts_per_step × samples_per_prompt)"
            )
        return self


StageSpec = Annotated[
    PretrainStage | SftStage | RewardStage | PpoStage, Field(discriminator="type")
]
