"""`/v1/fine_tuning/alpha/graders`, as the OpenAI API has it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from api.deps import ServicesDep, SignedIn
from api.openai.objects import GraderChecked, GraderRun
from api.openai.request import Section

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders", tags=["openai"], dependencies=[SignedIn])


class ValidateGrader(Section):
    """A grader to look at."""

    grader: dict[str, Any]


class RunGrader(ValidateGrader):
    """A grader, and what it is to score."""

    model_sample: str
    """The response: `{{sample.output_text}}`."""
    item: dict[str, Any] = Field(default_factory=dict)
    """The data row: `{{item.<column>}}`."""


@router.post("/validate")
async def validate_grader(body: ValidateGrader, parts: ServicesDep) -> GraderChecked:
    """Whether a job would take this grader. Nothing is run."""
    parts.graders.validate(body.grader)
    return GraderChecked(grader=body.grader)


@router.post("/run")
async def run_grader(body: RunGrader, parts: ServicesDep) -> GraderRun:
    """Score one response by a grader that reads text alone."""
    return await parts.graders.run(body.grader, body.model_sample, body.item)
