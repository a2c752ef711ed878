"""JobSpec: everything a user says about a job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from rlhf_service.spec.base import Section
from rlhf_service.spec.learner import LearnerSpec
from rlhf_service.spec.model import ModelSpec, ScratchModel, StageModel
from rlhf_service.spec.resources import ResourceSpec
from rlhf_service.spec.reward import models_in
from rlhf_service.spec.rollout import RolloutSpec
from rlhf_service.spec.served import unserved
from rlhf_service.spec.stages import PpoStage, RewardStage, StageSpec
from rlhf_service.spec.tracking import TrackerKind

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelValue = Annotated[str, StringConstraints(max_length=512)]
JobName = Annotated[str, StringConstraints(min_length=1, max_length=40)]

PRIORITIES = (-10, 10)
"""The lowest and the highest."""


class CheckpointSpec(Section):
    """When to save everything that decides the next step."""

    every: int = Field(default=10, ge=1)
    """Steps between checkpoints of a stage."""

    keep: int = Field(default=2, ge=1)
    """Newest checkpoints kept; older ones are deleted."""


class RecoverySpec(Section):
    """What a job may spend on failures before it fails."""

    max_attempts: int = Field(default=3, ge=1)
    """Ray jobs submitted for it, the first included."""

    max_restarts: int = Field(default=5, ge=0)
    """Restarts within one attempt: of the learner group when a rank dies, and of each rollout actor,
    reward actor and the weight store when it stalls. One more ends the attempt, or the job."""

    resize_interval: float = Field(default=60, ge=1)
    """Seconds between two looks for room for more ranks, with `resources.learner.min_workers`. A group
    that grows starts again from the newest checkpoint."""

    request_timeout: float = Field(default=300, gt=0)
    """Seconds that a rollout or reward actor may spend on one phase (starting, building its engine,
    fetching weights, generating, scoring), or without a sign of life, before it counts as stalled
    and is replaced; its stacks go into the driver's log."""

    stall_timeout: float = Field(default=1800, gt=0)
    """Seconds without a step before the learners count as stalled and the next attempt starts.

    Must be longer than the longest step, its evaluation and its checkpoint."""


class JobSpec(Section):
    """One job: a model taken through one or more stages."""

    name: str = Field(default="job", min_length=1, max_length=64)
    """Shown in lists; need not be unique."""

    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=16)
    """Free key-value pairs for filters."""

    priority: int = Field(default=0, ge=PRIORITIES[0], le=PRIORITIES[1])
    """Higher starts earlier. An hour in the queue weighs as much as one level."""

    preemptible: bool = False
    """A waiting job of higher priority may have this one checkpoint and make room; it goes on by
    itself when there is room again."""

    after: tuple[JobName, ...] = Field(default=(), max_length=32)
    """Ids of jobs that have to succeed before this one starts; when one does not, this one fails."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides initial weights, data order and sampling."""

    model: ModelSpec
    """The base model."""

    stages: tuple[StageSpec, ...] = Field(min_length=1)
    """Run in this order; a stage may start from what an earlier one produced."""

    learner: LearnerSpec = LearnerSpec()
    """DeepSpeed settings."""

    rollout: RolloutSpec = RolloutSpec()
    """How responses are drawn."""

    resources: ResourceSpec = ResourceSpec()
    """Processes and what they reserve."""

    checkpoint: CheckpointSpec = CheckpointSpec()
    """When to save."""

    recovery: RecoverySpec = RecoverySpec()
    """How much failure to survive."""

    trackers: frozenset[TrackerKind] = frozenset({"tensorboard"})
    """Experiment trackers fed with every step, evaluation and sample; files lie in `tracking/` of the
    job's folder."""

    @model_validator(mode="after")
    def base_model_is_no_stage(self) -> JobSpec:
        if isinstance(self.model, StageModel):
            raise ValueError("model: must be a folder or scratch; a stage has not run yet")
        return self

    @model_validator(mode="after")
    def stages_refer_backwards(self) -> JobSpec:
        earlier: dict[str, StageSpec] = {}
        for index, stage in enumerate(self.stages):
            if stage.name in earlier:
                raise ValueError(
                    f"stages[{index}].name: {stage.name!r} is taken; name it otherwise"
                )
            for field, reference in stage_references(stage):
                if reference.stage not in earlier:
                    raise ValueError(
                        f"stages[{index}].{field}: no earlier stage is named {reference.stage!r}; "
                        f"earlier stages: {sorted(earlier) or 'none'}"
                    )
                is_reward_model = isinstance(earlier[reference.stage], RewardStage)
                if field.startswith(("reward", "evaluation")) and not is_reward_model:
                    raise ValueError(
                        f"stages[{index}].{field}: {reference.stage!r} is not a reward stage; "
                        "its model gives no score"
                    )
                if field == "model" and is_reward_model:
                    raise ValueError(
                        f"stages[{index}].{field}: {reference.stage!r} is a reward stage; "
                        "its model generates no text"
                    )
            earlier[stage.name] = stage
        return self

    @model_validator(mode="after")
    def adapters_have_a_base(self) -> JobSpec:
        for index, stage in enumerate(self.stages):
            if stage.adapter is not None and isinstance(self.start_of(stage), ScratchModel):
                raise ValueError(
                    f"stages[{index}].adapter: a network from scratch has nothing to adapt; leave it "
                    "out, or start from a folder or an earlier stage"
                )
        return self

    @model_validator(mode="after")
    def batches_divide_over_ranks(self) -> JobSpec:
        learner = self.resources.learner
        ranks, over = learner.shares, f"the {learner.num_workers} learner ranks"
        if learner.elastic:
            over = (
                f"every number of learner ranks from resources.learner.min_workers, {learner.fewest}, "
                f"to num_workers, {learner.num_workers}"
            )
        for index, stage in enumerate(self.stages):
            if isinstance(stage, PpoStage):
                field, rows = "prompts_per_step", stage.prompts_per_step
                per_rank = rows * stage.samples_per_prompt // ranks
                if rows % ranks == 0 and per_rank < stage.ppo.minibatches:
                    share = "share that ranks may have" if learner.elastic else "rank"
                    raise ValueError(
                        f"stages[{index}].ppo.minibatches: {stage.ppo.minibatches} minibatches of "
                        f"{per_rank} responses a {share}; lower it or raise prompts_per_step"
                    )
            else:
                field, rows = "batch_size", stage.batch_size
            if rows % ranks:
                remedy = f"use a multiple of {ranks}"
                if learner.elastic:
                    remedy += ", or raise min_workers"
                raise ValueError(
                    f"stages[{index}].{field}: {rows} is not divisible by {over}; {remedy}"
                )
        return self

    @model_validator(mode="after")
    def broadcasts_have_two_ends(self) -> JobSpec:
        parts = (self.resources.learner.gpus_per_worker, self.resources.rollout.gpus_per_actor)
        if self.rollout.weights == "collective" and any(0 < part < 1 for part in parts):
            raise ValueError(
                "rollout.weights: a broadcast is between whole GPUs, and parts of GPUs may be of the "
                "same one; use object_store, or reserve whole GPUs in resources"
            )
        return self

    @model_validator(mode="after")
    def engine_serves_the_policies(self) -> JobSpec:
        if why := unserved(self):
            raise ValueError(why)
        return self

    def start_of(self, stage: StageSpec) -> ModelSpec:
        """The stage's own model, else the last policy trained before it, else the job's."""
        if stage.model is not None:
            return stage.model
        chosen = self.model
        for earlier in self.stages:
            if earlier.name == stage.name:
                break
            if not isinstance(earlier, RewardStage):
                chosen = StageModel(stage=earlier.name)
        return chosen

    @property
    def needs_pools(self) -> bool:
        return any(isinstance(stage, PpoStage) for stage in self.stages)


def stage_references(stage: StageSpec) -> list[tuple[str, StageModel]]:
    """Every reference of `stage` to another stage, with the field it stands in."""
    found = [("model", stage.model)]
    if isinstance(stage, PpoStage):
        found.append(("critic", stage.critic))
        for field, reward in stage.rewards():
            found += models_in(reward, field)
    return [(field, model) for field, model in found if isinstance(model, StageModel)]
