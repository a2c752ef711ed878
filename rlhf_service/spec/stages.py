"""One section for each kind of stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rlhf_service.spec.adapter import LoraSpec
from rlhf_service.spec.advantage import GroupAdvantage, LeaveOneOutAdvantage
from rlhf_service.spec.annealing import AnnealingSpec
from rlhf_service.spec.base import Section
from rlhf_service.spec.data import DataSpec
from rlhf_service.spec.environment import EnvironmentSpec
from rlhf_service.spec.failure import FailurePolicySpec
from rlhf_service.spec.health import HealthSpec
from rlhf_service.spec.learner import OptimizerSpec
from rlhf_service.spec.methods import DEFAULTS, Method, with_defaults
from rlhf_service.spec.model import ModelSpec
from rlhf_service.spec.ppo import GateSpec, PpoSpec, SamplingSpec
from rlhf_service.spec.preflight import PreflightSpec
from rlhf_service.spec.reward import RewardSpec

StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class SupervisedStage(Section):
    """What pretraining, SFT and reward modelling share."""

    model: ModelSpec | None = None
    """Where the stage starts; the job's model, or the last policy trained, when absent."""

    adapter: LoraSpec | None = None
    """Train a low-rank adapter, merged into the weights at the end; every weight when null."""

    data: DataSpec
    """Training rows."""

    validation: DataSpec | None = None
    """Held-out rows; when absent, `holdout` of the training rows are set aside."""

    holdout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training rows set aside for validation when `validation` is absent."""

    steps: int = Field(default=100, ge=1, le=10**9)
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

    center_coef: float = Field(default=0.0, ge=0)
    """Weight of (chosen + rejected)², which draws scores towards 0 while training (arXiv 2312.09244
    uses 0.01). The finished model is centred on held-out pairs in any case."""


class DpoStage(SupervisedStage):
    """Direct preference optimisation on preference pairs (arXiv 2305.18290)."""

    type: Literal["dpo"] = "dpo"
    name: StageName = "dpo"
    """How later stages refer to this one."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be labelled the wrong way round (conservative DPO)."""

    margins: bool = False
    """Ask of a pair's gap that it exceeds the row's `margin` (offset DPO, arXiv 2402.10571). Only
    reward models read margins when false."""


class DynamicSamplingSpec(Section):
    """Replace prompts whose responses all score the same (DAPO, arXiv 2503.14476, eq. 11)."""

    rounds: int = Field(default=3, ge=2)
    """Rounds of generation in a step, the first included; each asks as many new prompts as are
    still wanting. When they are used up, groups of equal scores fill the batch."""


class EvaluationSpec(Section):
    """Held-out evaluation of a policy by the stage's reward."""

    prompts: DataSpec
    """Held-out prompts; never trained on."""

    num_prompts: int = Field(default=64, ge=2)
    """How many of them, from the first."""

    samples_per_prompt: int = Field(default=1, ge=1)
    """Responses drawn for each."""

    metrics: tuple[RewardSpec, ...] = ()
    """Further graders of the same responses: reported under their names, never trained on."""

    greedy: bool = False
    """Take the likeliest token each time instead of sampling."""

    every: int | None = Field(default=None, ge=1)
    """Also evaluate each this many steps; before and after only, when absent."""


class PpoStage(Section):
    """Policy-gradient training against a reward: PPO, or a method without a critic.

    `type` names the method and with it the defaults (spec/methods.py); every setting can be changed.
    """

    type: Method = "ppo"
    name: StageName = "ppo"
    """How later stages refer to this one; the method's name when absent."""

    model: ModelSpec | None = None
    """Policy, and its frozen reference; the job's model, or the last policy trained, when absent."""

    adapter: LoraSpec | None = None
    """Train a low-rank adapter of the policy, and of the critic if any; every weight when null. The
    reference is then the policy without it, only the adapter's weights are published, and the model
    the stage leaves has them merged."""

    critic: ModelSpec | None = None
    """Where the critic's trunk starts (a reward model's folder works too); the policy when absent.
    Only with advantage `gae`."""

    prompts: DataSpec
    """Rows with a `prompt`; other columns travel to the reward as `item`."""

    reward: RewardSpec
    """What scores a response."""

    steps: int = Field(default=50, ge=1, le=10**9)
    """PPO steps: each samples, scores and learns from one batch."""

    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts of one step, over all ranks."""

    samples_per_prompt: int = Field(default=1, ge=1)
    """Responses drawn for each prompt."""

    max_prompt_length: int = Field(default=128, ge=1)
    """A longer prompt is refused."""

    sampling: SamplingSpec = SamplingSpec()
    """How responses are drawn."""

    environment: EnvironmentSpec | None = None
    """What answers the policy between turns of one response; off when null. Its tokens count towards
    sampling.max_new_tokens and are not learnt."""

    max_staleness: int = Field(default=0, ge=0, le=8)
    """Sample ahead while earlier batches are learnt: each batch is drawn by weights this many versions
    older than those that learn from it. 0 is strictly on-policy: each step waits for its own."""

    dynamic_sampling: DynamicSamplingSpec | None = None
    """Learn only from prompts whose responses differ in score; off when null."""

    annealing: AnnealingSpec = AnnealingSpec()
    """Temperature and entropy bonus over the steps; constant when left out."""

    ppo: PpoSpec = PpoSpec()
    """The update."""

    optimizer: OptimizerSpec = OptimizerSpec(learning_rate=1e-5)
    """The policy's Adam."""

    critic_optimizer: OptimizerSpec = OptimizerSpec(learning_rate=1e-5)
    """The critic's Adam."""

    on_failure: FailurePolicySpec = FailurePolicySpec()
    """What becomes of responses that cannot be scored."""

    preflight: PreflightSpec = PreflightSpec()
    """A look at the reward before the first step."""

    health: HealthSpec = HealthSpec()
    """Alarms while it trains."""

    gate: GateSpec = GateSpec()
    """Checks before the first update."""

    evaluation: EvaluationSpec | None = None
    """Held-out reward before and after."""

    sample_every: int = Field(default=5, ge=1)
    """Show a few samples each this many steps."""

    keep_steps: frozenset[Annotated[int, Field(ge=1)]] = frozenset()
    """Steps kept whole (weights before, responses, scores, state) in `bundles/`, for `rlhf replay`."""

    def rewards(self) -> list[tuple[str, RewardSpec]]:
        """What scores responses, in training or evaluation, each with its dotted field."""
        metrics = self.evaluation.metrics if self.evaluation is not None else ()
        named = [(f"evaluation.metrics[{i}]", metric) for i, metric in enumerate(metrics)]
        return [("reward", self.reward), *named]

    @model_validator(mode="before")
    @classmethod
    def method_sets_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        method = given.get("type", "ppo")
        if method not in DEFAULTS:
            return given
        return with_defaults(given, {"name": method} | dict(DEFAULTS[method]))

    @model_validator(mode="after")
    def a_group_has_members(self) -> PpoStage:
        advantage = self.ppo.advantage
        in_groups = isinstance(advantage, GroupAdvantage | LeaveOneOutAdvantage)
        in_groups |= getattr(advantage, "group_baseline", False)
        if in_groups and self.samples_per_prompt < 2:
            raise ValueError(
                f"samples_per_prompt is 1, but advantage {advantage.type!r} compares the responses "
                "to one prompt; use 2 or more"
            )
        return self

    @model_validator(mode="after")
    def training_samples(self) -> PpoStage:
        if self.sampling.greedy:
            raise ValueError(
                "sampling.greedy explores nothing; train by sampling and set evaluation.greedy"
            )
        return self

    @model_validator(mode="after")
    def metrics_have_names(self) -> PpoStage:
        names = ["reward", *(m.name for m in self.evaluation.metrics)] if self.evaluation else []
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"evaluation.metrics: the name {twice[0]!r} is taken; give each metric its own `name`"
            )
        return self

    @model_validator(mode="after")
    def dynamic_sampling_compares(self) -> PpoStage:
        if self.dynamic_sampling is not None and self.samples_per_prompt < 2:
            raise ValueError(
                "dynamic_sampling compares the responses to one prompt, but samples_per_prompt is 1; "
                "use 2 or more"
            )
        return self

    @model_validator(mode="after")
    def stale_responses_are_weighed(self) -> PpoStage:
        if self.max_staleness and self.ppo.importance_cap is None:
            raise ValueError(
                f"max_staleness is {self.max_staleness}, but ppo.importance_cap is null: responses of "
                "older weights would count as if the newest had drawn them; set a cap, such as 2"
            )
        return self

    @model_validator(mode="after")
    def a_critic_is_used(self) -> PpoStage:
        if self.critic is not None and not self.ppo.has_critic:
            raise ValueError(
                f"critic has no use with advantage {self.ppo.advantage.type!r}; leave it out"
            )
        return self

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
    PretrainStage | SftStage | RewardStage | DpoStage | PpoStage, Field(discriminator="type")
]
