"""Training a low-rank adapter instead of every weight."""

from __future__ import annotations

from pydantic import Field

from rlhf_service.spec.base import Section


class LoraSpec(Section):
    """Low-rank adaptation (arXiv 2106.09685): each layer computes W·x + (alpha / rank)·B·A·x, of which
    only A and B learn. Its model must come from a folder or an earlier stage."""

    rank: int = Field(default=16, ge=1)
    """Rows of A and columns of B."""

    alpha: int = Field(default=32, ge=1)
    """Numerator of the update's scale."""

    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Layers that get one, by name (`q_proj`); every linear layer but the head when absent."""
