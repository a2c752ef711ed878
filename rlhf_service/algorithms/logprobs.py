"""Log-probs of tokens under tempered logits, in fp32."""

from __future__ import annotations

from typing import Any

import torch

LOG_RATIO_BOUND = 20.0


CHUNK = 64
"""Rows of logits worked on at a time on a CPU, small enough to stay in its cache."""
LOGITS = 2**26
"""Worked on at a time elsewhere, where each piece of work costs its launch: 256 MiB in fp32."""


def token_logprobs(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """log softmax(logits / temperature)[token].

    Args:
        logits: [..., V], at the position *before* each token.
        tokens: [...] int64.

    Returns:
        [...] fp32.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    found: torch.Tensor = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        rows, tokens.flatten(), temperature
    )
    return found.view(tokens.shape)


def token_logprobs_and_entropy(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """As token_logprobs, and the entropy of each distribution in nats. Both [...] fp32."""
    rows = logits.reshape(-1, logits.shape[-1])
    entropy = torch.cat([_entropy(part, temperature) for part in torch.split(rows, chunk_of(rows))])
    return token_logprobs(logits, tokens, temperature), entropy.view(tokens.shape)


def _entropy(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """[n, V] → [n]."""
    logprobs = torch.log_softmax(tempered(logits, temperature), dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


class _TokenLogprobs(torch.autograd.Function):
    """Keeps of a row's softmax only its normaliser; the rest is worked out again for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, tokens: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        norms = torch.empty(len(logits), device=logits.device)
        chosen, chunk = torch.empty_like(norms), chunk_of(logits)
        for at in range(0, len(logits), chunk):
            part = slice(at, at + chunk)
            scaled = tempered(logits[part], temperature)
            norms[part] = scaled.logsumexp(dim=-1)
            chosen[part] = scaled.gather(-1, tokens[part, None])[:, 0]
        ctx.save_for_backward(logits, tokens, norms)
        ctx.temperature = temperature
        return chosen - norms

    @staticmethod
    def backward(ctx: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, tokens, norms = ctx.saved_tensors
        gradient, chunk = torch.empty_like(logits), chunk_of(logits)
        slope = wanted / ctx.temperature
        for at in range(0, len(logits), chunk):
            part = slice(at, at + chunk)
            scaled = tempered(logits[part], ctx.temperature)
            share = (scaled - norms[part, None]).exp_().mul_(-slope[part, None])
            share.scatter_add_(-1, tokens[part, None], slope[part, None])
            gradient[part] = share
        return gradient, None, None


def chunk_of(logits: torch.Tensor) -> int:
    """Rows of [n, V] to work on at a time."""
    few = logits.device.type == "cpu"
    return CHUNK if few else max(CHUNK, LOGITS // logits.shape[-1])


def tempered(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits / temperature in fp32."""
    logits = logits.float()
    return logits if temperature == 1.0 else logits / temperature


def log_ratio(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """new − old, clamped to ±20 so that its exponential stays finite."""
    return (new - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
