"""What can be told before a job: of a data file, of a reward."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from api.schemas.base import View
from rlhf_service.events import PreflightCompleted
from rlhf_service.spec import JobSpec


class BadRowView(View):
    """A row that a kind of stage cannot read."""

    place: str
    """`line 3`, counted from 1."""
    message: str


class FitView(View):
    """What a kind of stage makes of a file."""

    stages: str
    """Types of stages, as in a job."""
    readable: bool
    rows: int
    median_length: int
    """Of all text of a row, characters; 0 when it is not readable."""
    longest: int
    fault: str | None
    """Why it is not readable."""
    bad_rows: list[BadRowView]
    """The first ten."""


class FileReport(View):
    """What a file can be used for."""

    id: str
    object: Literal["file.report"] = "file.report"
    fits: list[FitView]


class PreflightRequest(BaseModel):
    """The job whose reward is to be looked at."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    spec: JobSpec
    stage: str | None = None
    """Its name; the first stage with a reward when absent."""


class PreflightView(View):
    """What a reward pays for."""

    object: Literal["preflight"] = "preflight"
    scored: Literal["the references"] = "the references"
    """Responses are not sampled here: the data's references stand in for them."""
    findings: PreflightCompleted
