"""What the API answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import Page as Page
from api.schemas.base import View as View
from rlhf_service.events import EventRecord, Sample
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.reports import StepReport
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


class StageModelView(View):
    """A model that one stage left."""

    stage: str
    type: str
    path: str
    model: str | None
    """Name under which chats take it; null for a reward model."""


class ModelView(View):
    """The model that a job was for, or a base model of the operator's."""

    id: str
    """The job's id; `ft:<base>:rlhf:<suffix>:<job>` of a fine-tuning job, which its job's id names
    too; a base model's name."""
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str
    """`rlhf-service`, or `base` for a base model."""
    name: str
    path: str
    created_at: datetime
    stages: list[StageModelView]
    base: str | None = None
    """The model that its last stage began from, to compare it with; null for one made anew."""
    chat: bool
    """Whether it has a chat template; if not, text goes on from a prompt."""


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


class Readiness(View):
    """Whether this replica can do its work."""

    ready: bool
    checks: dict[str, str]
    """`ok`, or what is wrong. The cluster's state is told but does not count."""


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


class RecipeView(View):
    """A complete job on real data."""

    name: str
    object: Literal["recipe"] = "recipe"
    title: str
    """Data and stages in one line."""


class RecipeRequest(BaseModel):
    """How to prepare a recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides everything random."""


class PreparedRecipe(RecipeView):
    """A recipe whose data is written."""

    seed: int
    spec: JobSpec
    text: str
    """The same job as short YAML."""
