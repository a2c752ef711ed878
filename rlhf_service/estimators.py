"""AdvantageSpec → the object that credits a batch's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from rlhf_service.algorithms.advantages import gae
from rlhf_service.algorithms.groups import group_advantages, leave_one_out, returns_to_go
from rlhf_service.algorithms.rewards import token_rewards
from rlhf_service.batch import ExperienceBatch, Recall
from rlhf_service.spec.advantage import (
    AdvantageSpec,
    GaeAdvantage,
    GroupAdvantage,
    LeaveOneOutAdvantage,
    ReturnToGoAdvantage,
)


@dataclass(frozen=True, slots=True)
class Paid:
    """What a batch was paid."""

    scores: torch.Tensor
    """[B] as shaped: penalties, normalisation and clipping applied."""

    rewards: torch.Tensor
    """[B, T] the score on the last response token, the KL penalty on each."""


class Estimator(Protocol):
    """Credits each response token of one rank's batch."""

    def __call__(
        self, paid: Paid, batch: ExperienceBatch, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages (before whitening) and returns, both [B, T], 0 where masked."""
        ...


@dataclass(frozen=True, slots=True)
class Gae:
    """With the critic's values."""

    gamma: float
    lam: float

    def __call__(
        self, paid: Paid, batch: ExperienceBatch, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return gae(paid.rewards, recall.values, batch.response_mask, self.gamma, self.lam)


@dataclass(frozen=True, slots=True)
class AgainstGroup:
    """The response's whole return against its group's; the same for each of its tokens."""

    divide_by_std: bool

    def __call__(
        self, paid: Paid, batch: ExperienceBatch, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        returns = (paid.rewards * batch.response_mask).sum(dim=1)
        advantages = group_advantages(
            returns, batch.groups, batch.scored, divide_by_std=self.divide_by_std
        )
        return spread(advantages, batch), spread(returns, batch)


@dataclass(frozen=True, slots=True)
class AgainstOthers:
    """The response's whole return against the group's other responses."""

    def __call__(
        self, paid: Paid, batch: ExperienceBatch, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        returns = (paid.rewards * batch.response_mask).sum(dim=1)
        advantages = leave_one_out(returns, batch.groups, batch.scored)
        return spread(advantages, batch), spread(returns, batch)


@dataclass(frozen=True, slots=True)
class ReturnToGo:
    """What is still to come after each token."""

    gamma: float
    group_baseline: bool

    def __call__(
        self, paid: Paid, batch: ExperienceBatch, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mask, rewards = batch.response_mask, paid.rewards
        if self.group_baseline:
            # Of the score alone, as in the paper: each token's KL term stays its own.
            above = group_advantages(paid.scores, batch.groups, batch.scored, divide_by_std=False)
            rewards = rewards + token_rewards(
                above - paid.scores, torch.zeros_like(rewards), mask, 0
            )
        returns = returns_to_go(rewards, mask, self.gamma)
        return returns, returns


def spread(of_rows: torch.Tensor, batch: ExperienceBatch) -> torch.Tensor:
    """[B] → [B, T]: the row's value at each of its response tokens."""
    return of_rows[:, None] * batch.response_mask


def build_estimator(advantage: AdvantageSpec, gamma: float) -> Estimator:
    """The estimator a spec asks for."""
    match advantage:
        case GaeAdvantage():
            return Gae(gamma, advantage.lam)
        case GroupAdvantage():
            return AgainstGroup(advantage.divide_by_std)
        case LeaveOneOutAdvantage():
            return AgainstOthers()
        case ReturnToGoAdvantage():
            return ReturnToGo(gamma, advantage.group_baseline)
