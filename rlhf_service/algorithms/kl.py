"""KL estimators and the adaptive coefficient."""

from __future__ import annotations

from typing import Literal

import torch

from rlhf_service.algorithms.logprobs import log_ratio


def kl_estimate(
    logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: Literal["k1", "k2", "k3"]
) -> torch.Tensor:
    """Per-token estimate of KL(π ‖ π_ref) from tokens sampled by π (Schulman 2020). Same shape.

    k1 = log π − log π_ref · k2 = ½ k1² · k3 = exp(−k1) − 1 + k1.
    """
    k1 = log_ratio(logprobs, ref_logprobs)
    match estimator:
        case "k1":
            return k1
        case "k2":
            return 0.5 * k1.square()
        case "k3":
            return torch.exp(-k1) - 1 + k1


def next_kl_coef(
    coef: float, kl_per_sequence: float, target: float, horizon: int, sequences: int
) -> float:
    """β after a batch (Ziegler et al. 2019): β·(1 + clip(KL/target − 1, ±0.2)·sequences/horizon).

    `kl_per_sequence` is summed over a sequence's tokens, as `target` is.
    """
    error = min(0.2, max(-0.2, kl_per_sequence / target - 1))
    return coef * (1 + error * sequences / horizon)
