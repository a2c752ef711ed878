"""How to make a job from another one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class RetryRequest(BaseModel):
    """Where to begin again."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"start": "checkpoint"}]},
    )

    start: Literal["checkpoint", "beginning"] = "checkpoint"
    """`checkpoint`: finished stages are kept, and the next one goes on from its newest whole
    checkpoint, where there is one. `beginning`: nothing is taken over."""


class CloneRequest(BaseModel):
    """What is to be different."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"changes": {"name": "again", "seed": 1}}]},
    )

    changes: dict[str, Any] = Field(default_factory=dict)
    """JSON merge patch (RFC 7396) on the job's specification: objects are merged, null takes a field
    back to its default, lists are replaced whole."""
