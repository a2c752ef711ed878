"""Drawing tokens so that a response depends on its own seed and the weights only.

Each (seed, position, sample) owns a stream of uniforms; token t takes the t-th uniform through the
inverse cumulative distribution. Neither the other rows of a batch, nor a restart, nor which actor
does the work changes what is drawn (up to floating-point differences in the logits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rlhf_service.records import Prompt
from rlhf_service.spec.ppo import SamplingSpec


@dataclass(slots=True)
class Answer:
    """Tokens drawn so far."""

    token_ids: list[int]
    logprobs: list[float]
    seconds: float = 0.0
    """From the start of its batch to its end."""


def uniforms(prompts: Sequence[Prompt], seed: int, length: int) -> torch.Tensor:
    """[B, length] float64 in [0, 1), one stream for each (seed, position, sample)."""
    rows = [
        np.random.Generator(np.random.Philox(key=[seed, (p.position << 20) + p.sample])).random(
            length
        )
        for p in prompts
    ]
    return torch.from_numpy(np.stack(rows))


def draw(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one token a row by inverse CDF.

    Args:
        logits: [B, V].
        uniform: [B] float64 in [0, 1).
        temperature: logits are divided by it.

    Returns:
        token [B] int64 and its log-prob [B] fp32.
    """
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    threshold = uniform.to(cumulative.device)[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, threshold, right=True)
    # Rounding may leave the last cumulative value at the threshold.
    token = token.clamp(max=logits.shape[-1] - 1)
    return token[:, 0], logprobs.gather(1, token)[:, 0]


def likeliest(logits: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The token of highest logit a row, the lowest id among equals: [B] int64, and its log-prob."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    best, token = logprobs.max(dim=-1)
    return token, best


def sampled(
    logits: torch.Tensor, uniform: torch.Tensor, sampling: SamplingSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row and its log-prob, as `sampling` says."""
    if sampling.greedy:
        return likeliest(logits, sampling.temperature)
    return draw(logits, uniform, sampling.temperature)
