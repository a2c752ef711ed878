"""What each token's loss counts for in an optimiser step."""

from __future__ import annotations

from typing import Literal

import torch

Aggregation = Literal["token", "sequence", "sequence_sum", "fixed"]


def token_shares(
    response_mask: torch.Tensor,
    aggregation: Aggregation,
    *,
    tokens: float,
    sequences: float,
    limit: int,
) -> torch.Tensor:
    """Weight of each token, so that the loss is Σ weight · token loss. [B, T] → [B, T].

    token: 1/tokens (arXiv 2503.14476, eq. 8) · sequence: 1/(its length · sequences) (2402.03300,
    eq. 3) · sequence_sum: 1/sequences · fixed: 1/(sequences · limit) (2503.20783).

    `tokens` and `sequences` are those of the whole step, over all ranks and microbatches; `limit` is
    the most tokens a response may have.
    """
    mask = response_mask.float()
    match aggregation:
        case "token":
            return mask / tokens
        case "sequence":
            return mask / mask.sum(dim=1, keepdim=True).clamp(min=1) / sequences
        case "sequence_sum":
            return mask / sequences
        case "fixed":
            return mask / (sequences * limit)
