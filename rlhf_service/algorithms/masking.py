"""Means, moments and whitening over the tokens that count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `mask` is True; 0 when nothing is. Same shapes, any rank."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares: what ranks add up to get a global mean and variance."""

    count: float
    total: float
    total_sq: float

    @classmethod
    def of(cls, values: torch.Tensor, mask: torch.Tensor) -> Moments:
        """Moments of `values` where `mask` is True, in float64."""
        chosen = values[mask].double()
        return cls(float(mask.sum()), float(chosen.sum()), float(chosen.square().sum()))

    def as_tensor(self) -> torch.Tensor:
        """[3] float64, additive over ranks."""
        return torch.tensor([self.count, self.total, self.total_sq], dtype=torch.float64)

    @classmethod
    def from_tensor(cls, packed: torch.Tensor) -> Moments:
        return cls(*packed.tolist())

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Population variance (divides by the count)."""
        return max(0.0, self.total_sq / self.count - self.mean**2) if self.count else 0.0

    @property
    def std(self) -> float:
        return math.sqrt(self.variance)


def whiten(
    values: torch.Tensor,
    mask: torch.Tensor,
    moments: Moments,
    *,
    shift_mean: bool = True,
    eps: float = 1e-8,
) -> torch.Tensor:
    """Scale to unit variance by `moments`; 0 where `mask` is False.

    `shift_mean=False` keeps the mean, as rewards need: taking it away would pay or charge for each
    token of length (arXiv 2403.17031).
    """
    white = (values - moments.mean) * (moments.variance + eps) ** -0.5
    if not shift_mean:
        white = white + moments.mean
    return torch.where(mask, white, torch.zeros_like(white))
