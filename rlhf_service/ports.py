"""The seams. A Protocol stands here only where at least two implementations exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from rlhf_service.events import Event
from rlhf_service.records import Prompt, Rollout, ScoreOutcome
from rlhf_service.spec.ppo import SamplingSpec

if TYPE_CHECKING:
    import torch

    from rlhf_service.batch import Credit, ExperienceBatch, Recall, UpdateStats

Item = TypeVar("Item")

KEPT_VERSIONS = 2
"""Versions of the weights that a channel keeps fetchable, besides those that are sampled from late."""


class RolloutEngine(Protocol):
    """Samples responses from one version of the policy."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        """One rollout for each prompt, in order, sampled by policy `version`.

        The tokens depend on (seed, prompt.position, prompt.sample) and the weights only.
        """
        ...


class RewardFunction(Protocol):
    """Scores rollouts."""

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        """One outcome for each rollout, in order. A failure is an outcome, not an exception."""
        ...


@dataclass(frozen=True, slots=True)
class WeightSnapshot:
    """One version of the policy's weights."""

    version: int
    digests: Mapping[str, str]
    """Tensor name → digest of its dtype, shape and bytes (models/digest.py)."""
    tensors: Mapping[str, torch.Tensor]


class WeightChannel(Protocol):
    """Carries policy versions from the learner to the rollout engines."""

    def publish(self, snapshot: WeightSnapshot) -> None:
        """Make the version fetchable. Never waits for an engine."""
        ...

    def fetch(self, version: int) -> WeightSnapshot:
        """That version. Raises WeightsUnavailable."""
        ...


class Group(Protocol):
    """The learner ranks as one."""

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of ranks."""
        ...

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise sum over ranks."""
        ...

    def max(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise maximum over ranks."""
        ...

    def gather(self, item: Item) -> list[Item]:
        """Every rank's item, in rank order, on every rank."""
        ...

    def broadcast(self, item: Item) -> Item:
        """Rank 0's item on every rank."""
        ...

    def barrier(self) -> None:
        """Wait for every rank."""
        ...


class Learner(Protocol):
    """The policy, critic and reference, and their optimisers, of one rank."""

    def annotate(self, batch: ExperienceBatch) -> Recall:
        """Old log-probs, reference log-probs, values and entropy. No gradient."""
        ...

    def update(
        self, batch: ExperienceBatch, recall: Recall, credit: Credit, *, step: int, kl_coef: float
    ) -> UpdateStats:
        """Epochs × minibatches of clipped PPO. `step` counts from 1."""
        ...

    def snapshot(self, version: int) -> WeightSnapshot | None:
        """The policy's full weights; None on ranks other than 0. Collective."""
        ...

    def save(self, folder: Path) -> None:
        """Everything that decides the next update. Collective."""
        ...

    def load(self, folder: Path) -> None:
        """The reverse of save. Collective."""
        ...


class EventSink(Protocol):
    """Takes a producer's events."""

    def emit(self, event: Event) -> None:
        """Durable when it returns."""
        ...
