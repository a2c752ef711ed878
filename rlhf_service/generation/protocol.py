"""What passes between a generating process and whoever started it: JSON, a line each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class Ask(Section):
    """One request. Prompts are text as the model is to see it."""

    prompts: tuple[str, ...] = Field(min_length=1)
    n: int = Field(default=1, ge=1)
    """Answers to each prompt; row i answers prompt i // n."""
    max_tokens: int = Field(ge=1)
    """Limit of one answer; less where the model's context ends before."""
    temperature: float = Field(default=1.0, ge=0)
    """0 takes the likeliest token each time."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the likeliest tokens that make up this much probability."""
    stop: tuple[str, ...] = ()
    """An answer ends before the first of these."""
    seed: int = Field(default=0, ge=0)


class Reply(Section):
    """A piece of the answer."""

    type: Literal["ready", "text", "finish", "end", "error"]
    row: int = 0
    text: str = ""
    """`text`: what comes next in the row; `error`: what is wrong."""
    reason: Literal["stop", "length"] = "stop"
    """`finish`: why the row ended."""
    prompt_tokens: int = 0
    """`end`: of all prompts, each once."""
    completion_tokens: int = 0
    """`end`: of all rows."""
