"""Generalised advantage estimation, and how much of the return the critic explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    response_mask: torch.Tensor,
    gamma: float,
    lam: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A_t = δ_t + γλ·A_{t'}, δ_t = r_t + γ·V_{t'} − V_t (arXiv 1506.02438).

    t' is the *next response token*: tokens the policy did not produce are stepped over, so neither
    their values nor their number matter. V after the last token is 0.

    Args:
        rewards, values: [B, T].
        response_mask: [B, T] bool, may have holes.

    Returns:
        advantages and returns (A + V), [B, T], 0 where masked.
    """
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in reversed(range(values.shape[1])):
        here = response_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        next_advantage = torch.where(here, advantage, next_advantage)
        next_value = torch.where(here, values[:, t], next_value)
        advantages[:, t] = torch.where(here, advantage, torch.zeros_like(advantage))
    returns = torch.where(response_mask, advantages + values, torch.zeros_like(values))
    return advantages, returns


@dataclass(frozen=True, slots=True)
class ExplainedVariance:
    """Sums from which 1 − var(return − value) / var(return) follows; additive over ranks."""

    count: float
    returns: float
    returns_sq: float
    errors: float
    errors_sq: float

    @classmethod
    def of(
        cls, values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor
    ) -> ExplainedVariance:
        wanted = returns[mask].double()
        error = wanted - values[mask].double()
        sums = [wanted.sum(), wanted.square().sum(), error.sum(), error.square().sum()]
        return cls(float(mask.sum()), *map(float, sums))

    def as_tensor(self) -> torch.Tensor:
        """[5] float64."""
        sums = [self.count, self.returns, self.returns_sq, self.errors, self.errors_sq]
        return torch.tensor(sums, dtype=torch.float64)

    @classmethod
    def from_tensor(cls, packed: torch.Tensor) -> ExplainedVariance:
        return cls(*packed.tolist())

    @property
    def value(self) -> float:
        """1 is a perfect critic, 0 one no better than a constant; 0 when returns do not vary."""
        if not self.count:
            return 0.0
        spread = self.returns_sq / self.count - (self.returns / self.count) ** 2
        missed = self.errors_sq / self.count - (self.errors / self.count) ** 2
        return 1 - missed / spread if spread > 1e-12 else 0.0
