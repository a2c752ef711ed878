"""What of the cluster a job asks for."""

from __future__ import annotations

from math import lcm
from typing import Literal

from pydantic import Field, model_validator

from rlhf_service.spec.base import Section

LARGEST = 2**31
"""No batch has more rows."""


class LearnerResources(Section):
    """The learner group: one process (a rank) for each worker."""

    num_workers: int = Field(default=1, ge=1)
    """Learner ranks."""

    min_workers: int | None = Field(default=None, ge=1)
    """Fewest ranks to go on with when there is no room for all, as after a machine was lost; the group
    grows again when room is back. `num_workers` when absent. Batches must divide over every number
    of ranks from here to there."""

    cpus_per_worker: float = Field(default=1, gt=0)
    """CPUs reserved for each rank."""

    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs reserved for each rank."""

    threads: int | None = Field(default=None, ge=1)
    """Torch threads of a rank; the whole CPUs it reserves, at least 1, when absent."""

    @model_validator(mode="after")
    def no_more_than_all(self) -> LearnerResources:
        if self.fewest > self.num_workers:
            raise ValueError(
                f"min_workers: {self.min_workers} is more than num_workers, {self.num_workers}; "
                "lower it, or leave it out to wait for all of them"
            )
        return self

    @property
    def fewest(self) -> int:
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def elastic(self) -> bool:
        """Whether the number of ranks may change while the job runs."""
        return self.fewest < self.num_workers

    @property
    def shares(self) -> int:
        """What batches are a multiple of, to divide over every number of ranks that may run."""
        found = 1
        for ranks in range(self.fewest, self.num_workers + 1):
            found = lcm(found, ranks)
            if found > LARGEST:  # it would only grow
                break
        return found

    @property
    def num_threads(self) -> int:
        return self.threads or max(1, int(self.cpus_per_worker))


class PoolResources(Section):
    """A pool of identical actors."""

    num_actors: int = Field(default=1, ge=1)
    """Actors in the pool."""

    cpus_per_actor: float = Field(default=0.25, gt=0)
    """CPUs reserved for each actor."""

    gpus_per_actor: float = Field(default=0, ge=0)
    """GPUs reserved for each actor."""

    threads: int | None = Field(default=None, ge=1)
    """Torch threads of an actor; the whole CPUs it reserves, at least 1, when absent."""

    @property
    def num_threads(self) -> int:
        return self.threads or max(1, int(self.cpus_per_actor))


class ResourceSpec(Section):
    """Processes of the job and what each reserves."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """cpu (gloo) or cuda (NCCL); auto takes cuda when the learners reserve GPUs."""

    learner: LearnerResources = LearnerResources()
    """Ranks of the learner group."""

    rollout: PoolResources = PoolResources()
    """Rollout actors (used by ppo stages)."""

    reward: PoolResources = PoolResources()
    """Reward actors (used by ppo stages)."""

    @property
    def on_gpu(self) -> bool:
        """Whether the learners compute on GPUs."""
        if self.device == "auto":
            return self.learner.gpus_per_worker > 0
        return self.device == "cuda"
