"""What drivers post, and what is read from a job's log."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import View
from rlhf_service.events import EventRecord, Sample
from rlhf_service.reports import StepReport


class StepPoint(View):
    """The newest report of one step."""

    stage: str
    step: int
    steps: int
    replayed: bool
    created_at: datetime
    report: StepReport


class SampleSet(View):
    """Responses drawn at one step, for people to read."""

    seq: int
    stage: str
    step: int
    kind: Literal["samples", "evaluation"]
    created_at: datetime
    mean: float | None
    """Mean score, for an evaluation."""
    samples: tuple[Sample, ...]


class Metrics(View):
    """Every step's newest report, in order."""

    object: Literal["list"] = "list"
    data: list[StepPoint]
    total: int
    """Steps that there are reports of; more than `data` has when `points` was asked for."""


class EventBatch(BaseModel):
    """What a driver posts."""

    model_config = ConfigDict(extra="forbid")

    events: list[EventRecord] = Field(max_length=2000)


class EventReceipt(View):
    """What became of a batch."""

    accepted: int
    """Events that were new."""
    last: dict[str, int]
    """Newest producer_seq stored of each producer in the batch."""
