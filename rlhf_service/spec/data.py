"""Where a stage's rows come from."""

from __future__ import annotations

from pydantic import Field

from rlhf_service.spec.base import Section


class DataSpec(Section):
    """A data file. The stage decides which columns a row must have.

    pretrain: `text` · sft: `prompt`+`completion`, or `messages` · reward: `prompt`+`chosen`+`rejected`
    (`prompt` may be empty; optional `margin`) · ppo and evaluation: `prompt`.
    """

    path: str = Field(min_length=1)
    """JSON Lines file (`.jsonl`), as an absolute path the cluster can read."""

    limit: int | None = Field(default=None, ge=1)
    """Use only the first this many rows; all when absent."""
