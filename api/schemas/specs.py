"""What `/v1/specs/check` takes and answers with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import View
from rlhf_service.spec import JobSpec


class SpecText(BaseModel):
    """A job as somebody wrote it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: str = Field(max_length=2**18)
    """JSON or YAML."""


class SpecFault(View):
    """What is wrong with one field, and what to do."""

    field: str | None
    """Dotted: `stages[0].steps`. Null when the text as a whole is meant."""
    message: str
    line: int | None
    """Of the text, from 1."""


class CheckedSpec(View):
    """What a text says as a job."""

    spec: JobSpec | None
    """Null when there are faults."""
    faults: list[SpecFault]
    note: str
    """What could not be checked; usually empty."""
