"""Per-token and per-pair loss terms. Aggregation is the caller's: sum ÷ global count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from rlhf_service.algorithms.logprobs import log_ratio


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """Clipped policy loss of each token; all the same shape."""

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped_low: torch.Tensor
    """True where A < 0 and ρ fell below 1 − ε_low: no gradient."""
    clipped_high: torch.Tensor
    """True where A > 0 and ρ rose above 1 + ε_high: no gradient."""


def policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> PolicyTerms:
    """max(−A·ρ, −A·clip(ρ, 1−ε_low, 1+ε_high)) (arXiv 1707.06347, eq. 7).

    `dual_clip` c bounds the loss of negative advantages by −c·A (arXiv 1912.09729).
    """
    ratio = log_ratio(logprobs, old_logprobs).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    if dual_clip is not None:
        bounded = torch.minimum(loss, -dual_clip * advantages)
        loss = torch.where(advantages < 0, bounded, loss)
    return PolicyTerms(
        loss=loss,
        ratio=ratio,
        clipped_low=(advantages < 0) & (ratio < 1 - clip_low),
        clipped_high=(advantages > 0) & (ratio > 1 + clip_high),
    )


@dataclass(frozen=True, slots=True)
class ValueTerms:
    """Clipped value loss of each token."""

    loss: torch.Tensor
    clipped: torch.Tensor
    """True where the clipped estimate gives the larger loss: no gradient."""


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, *, clip: float | None
) -> ValueTerms:
    """½·max((V−R)², (clip(V, V_old ± clip) − R)²). Same shapes."""
    error = (values - returns).square()
    if clip is None:
        return ValueTerms(0.5 * error, torch.zeros_like(error, dtype=torch.bool))
    near = torch.maximum(torch.minimum(values, old_values + clip), old_values - clip)
    clipped_error = (near - returns).square()
    return ValueTerms(0.5 * torch.maximum(error, clipped_error), clipped_error > error)


def importance_weights(
    old_logprobs: torch.Tensor, sampler_logprobs: torch.Tensor, cap: float | None
) -> torch.Tensor:
    """min(exp(log π_old − log π_sampler), cap); 1 everywhere when `cap` is None."""
    if cap is None:
        return torch.ones_like(old_logprobs)
    return log_ratio(old_logprobs, sampler_logprobs).exp().clamp(max=cap)


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    margin: torch.Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """−log σ(chosen − rejected − margin) of each pair. [B] → [B].

    `label_smoothing` ε takes a share ε of the pairs to be labelled the wrong way round:
    −(1−ε)·log σ(gap) − ε·log σ(−gap) (Mitchell 2023, conservative DPO).
    """
    gap = chosen - rejected
    gap = gap if margin is None else gap - margin
    right = -functional.logsigmoid(gap)
    if not label_smoothing:
        return right
    return (1 - label_smoothing) * right - label_smoothing * functional.logsigmoid(-gap)


def cross_entropy_sum(
    logits: torch.Tensor, targets: torch.Tensor, loss_mask: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Σ −log softmax(logits)[target] where `loss_mask` is True, and how many those are.

    logits [..., V], targets and loss_mask [...].
    """
    chosen = logits[loss_mask].float()
    summed = functional.cross_entropy(chosen, targets[loss_mask], reduction="sum")
    return summed, int(loss_mask.sum())
