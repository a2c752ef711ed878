"""Token rewards, the discounted return, and the running score normaliser."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from rlhf_service.algorithms.masking import Moments


def token_rewards(
    scores: torch.Tensor, kl: torch.Tensor, response_mask: torch.Tensor, kl_coef: float
) -> torch.Tensor:
    """−β·kl on each response token, plus the score on the last one.

    Args:
        scores: [B].
        kl: [B, T] per-token estimate.
        response_mask: [B, T] bool.

    Returns:
        [B, T], 0 outside the response.
    """
    positions = torch.arange(1, response_mask.shape[1] + 1, device=response_mask.device)
    last = (response_mask * positions).argmax(dim=1)
    rewards = -kl_coef * kl * response_mask
    has_tokens = response_mask.any(dim=1)
    final = torch.nn.functional.one_hot(last, response_mask.shape[1]) * has_tokens[:, None]
    return rewards + final * scores[:, None]


def overlong_penalty(
    lengths: torch.Tensor, limit: int, buffer: int, penalty: float
) -> torch.Tensor:
    """0 up to limit − buffer tokens, then rising evenly to `penalty` at `limit` (2503.14476, eq. 13).

    [B] → [B].
    """
    return penalty * ((lengths - (limit - buffer)) / buffer).clamp(0, 1)


def discounted_return(
    rewards: torch.Tensor, response_mask: torch.Tensor, gamma: float
) -> torch.Tensor:
    """L = Σ_t γ^t R_{t+1} of each row, t counting response tokens only. [B, T] → [B]."""
    step = (response_mask.cumsum(dim=1) - 1).clamp(min=0)
    return (gamma**step * rewards * response_mask).sum(dim=1)


@dataclass(frozen=True, slots=True)
class RunningMoments:
    """Mean and variance of everything seen so far (Chan et al. 1979). Plain floats, for JSON."""

    count: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared distances from the mean."""

    def merge(self, batch: Moments) -> RunningMoments:
        """State after a batch that `batch` sums up."""
        count = self.count + batch.count
        if not count:
            return self
        delta = batch.mean - self.mean
        return RunningMoments(
            count=count,
            mean=self.mean + delta * batch.count / count,
            m2=self.m2 + batch.variance * batch.count + delta**2 * self.count * batch.count / count,
        )

    @property
    def std(self) -> float:
        """Population standard deviation; 1 before there is a spread."""
        return math.sqrt(self.m2 / self.count) if self.count and self.m2 else 1.0
