"""Jobs, as their owners see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from api.schemas.base import View
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.spec import JobSpec


class Progress(View):
    """How far the current stage is."""

    stage: str | None
    """Null before the first stage starts."""
    step: int
    steps: int
    """Planned steps of the stage."""
    eta_seconds: float | None
    """Until this stage ends, at the pace of its last steps; null when unknown or not running."""
    metrics: dict[str, Any] | None
    """The newest step's report."""


class AttemptView(View):
    """One submission to the cluster."""

    number: int
    submission_id: str
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    outcome: str | None


class ParentView(View):
    """The job that a job was made from."""

    id: str
    """It may be deleted by now."""
    kind: Literal["retry", "clone"]


class JobLinks(View):
    """Where to go on."""

    self: str
    events: str
    stream: str
    metrics: str
    samples: str
    logs: str
    checkpoints: str
    artefacts: str
    report: str
    """What each stage did and changed, as a page; `.json` in place of `.html` for programs."""
    plan: str


class JobView(View):
    """A job as its owner sees it."""

    id: str
    object: Literal["job"] = "job"
    name: str
    status: JobStatus
    reason: StopReason | None
    """Why it stopped; null until then."""
    message: str
    """What it waits for, or what went wrong, in words."""
    progress: Progress
    attempts: list[AttemptView]
    labels: dict[str, str]
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    first_seq: int
    """Number of the oldest event that is kept."""
    last_seq: int
    """Number of the newest event."""
    result: dict[str, Any] | None
    """The completion record of a job that succeeded."""
    parent: ParentView | None
    """The job that this one was made from; null for most."""
    spec: JobSpec
    links: JobLinks


class LogsView(View):
    """What the driver of one attempt printed."""

    job_id: str
    attempt: int
    """0 before the first."""
    text: str
    offset: int
    """Character of the whole log at which `text` begins."""
    next_offset: int
    """Where to go on reading; ask again with it as `offset` while `ended` is false."""
    ended: bool
    """Whether the attempt has ended, so that no more is printed."""
