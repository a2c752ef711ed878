"""Critic-free credit: each response against the other responses to its prompt."""

from __future__ import annotations

import torch

EPSILON = 1e-4
"""Added to a group's standard deviation, so that a group of equals gives 0."""


def group_advantages(
    returns: torch.Tensor, groups: torch.Tensor, counts: torch.Tensor, *, divide_by_std: bool
) -> torch.Tensor:
    """r − mean of its group, ÷ (std of its group + ε) when asked (arXiv 2402.03300, sec. 4.1.2).

    Args:
        returns: [B].
        groups: [B] int64; equal for the responses to one prompt.
        counts: [B] bool, True for the responses that have a return; the others take no part.

    Returns:
        [B], 0 where `counts` is False. The deviation is Bessel-corrected; 0 in a group of one.
    """
    sizes, means, index = _group_means(returns, groups, counts)
    centred = (returns - means[index]) * counts
    if not divide_by_std:
        return centred
    squares = torch.zeros_like(means).index_add_(0, index, centred.double().square())
    deviation = (squares / (sizes - 1).clamp(min=1)).sqrt()
    return (centred / (deviation[index] + EPSILON)).to(returns.dtype)


def leave_one_out(
    returns: torch.Tensor, groups: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """r_i − mean_{j≠i} r_j within its group (arXiv 2402.14740, eq. 8). Arguments as above.

    0 for a response without others.
    """
    sizes, means, index = _group_means(returns, groups, counts)
    correction = (sizes / (sizes - 1).clamp(min=1)) * (sizes > 1)
    return ((returns - means[index]) * correction[index] * counts).to(returns.dtype)


def equal_groups(
    returns: torch.Tensor, groups: torch.Tensor, counts: torch.Tensor
) -> tuple[int, int]:
    """How many groups have no spread (they teach nothing), and how many groups there are."""
    _, _, index = _group_means(returns, groups, counts)
    number = int(index.max()) + 1 if len(index) else 0
    low = torch.full((number,), torch.inf, dtype=torch.float64)
    high = -low
    chosen = returns.double()[counts]
    low = low.scatter_reduce(0, index[counts], chosen, "amin")
    high = high.scatter_reduce(0, index[counts], chosen, "amax")
    present = torch.isfinite(low)
    return int((present & (high <= low)).sum()), int(present.sum())


def returns_to_go(rewards: torch.Tensor, response_mask: torch.Tensor, gamma: float) -> torch.Tensor:
    """Σ_{u≥t} γ^{u−t} r_u, u counting response tokens only. [B, T] → [B, T], 0 where masked."""
    total = torch.zeros_like(rewards[:, 0])
    out = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        here = response_mask[:, t]
        total = torch.where(here, rewards[:, t] + gamma * total, total)
        out[:, t] = torch.where(here, total, torch.zeros_like(total))
    return out


def _group_means(
    returns: torch.Tensor, groups: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[G] sizes and [G] means in float64 over the rows that count, and [B] the row's group."""
    _, index = torch.unique(groups, return_inverse=True)
    number = int(index.max()) + 1 if len(index) else 0
    sizes = torch.zeros(number, dtype=torch.float64).index_add_(0, index, counts.double())
    sums = torch.zeros_like(sizes).index_add_(0, index, (returns * counts).double())
    return sizes, sums / sizes.clamp(min=1), index
