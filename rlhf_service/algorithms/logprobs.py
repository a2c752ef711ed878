"""Log-probs of tokens under tempered logits, in fp32."""

from __future__ import annotations

import torch

LOG_RATIO_BOUND = 20.0


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
    scaled = logits.float() / temperature
    chosen = scaled.gather(-1, tokens[..., None])[..., 0]
    return chosen - scaled.logsumexp(dim=-1)


def token_logprobs_and_entropy(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """As token_logprobs, and the entropy of each distribution in nats. Both [...] fp32."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
    return logprobs.gather(-1, tokens[..., None])[..., 0], entropy


def log_ratio(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """new − old, clamped to ±20 so that its exponential stays finite."""
    return (new - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
