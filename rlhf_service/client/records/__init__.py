"""What the service answers with about jobs and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from rlhf_service.client.address import Address
from rlhf_service.client.records.base import Record
from rlhf_service.events import Sample
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.reports import StepReport

if TYPE_CHECKING:
    from rlhf_service.client.live.view import LiveView


class JobProgress(Record):
    """How far the current stage is."""

    stage: str | None
    step: int
    steps: int
    eta_seconds: float | None
    """Until this stage ends; None when unknown."""
    metrics: dict[str, Any] | None
    """The newest step's report."""


class Job(Record):
    """A job as the service sees it."""

    id: str
    name: str
    status: JobStatus
    reason: StopReason | None
    message: str
    """What it waits for, or what went wrong, in words."""
    progress: JobProgress
    created_at: str
    finished_at: str | None
    result: dict[str, Any] | None
    """The completion record of a job that succeeded."""
    labels: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)
    """With every default filled in."""

    _home: Address | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        self._home = context if isinstance(context, Address) else None

    def watch(self) -> LiveView:
        """A live view: as the last line of a notebook's cell it shows itself and stays up to date;
        `.wait()` holds until the job ends.
        """
        # Not at the top: few programs show anything.
        from rlhf_service.client.live.view import LiveView

        if self._home is None:
            raise ValueError("this job did not come from a client; ask client.jobs.get(id) for it")
        return LiveView(self._home, self.id)

    def _repr_html_(self) -> str:
        from rlhf_service.client.live.html import job_card

        return job_card(self)


class StepPoint(Record):
    """The newest report of one step."""

    stage: str
    step: int
    steps: int
    replayed: bool
    report: StepReport


class SampleSet(Record):
    """Responses drawn at one step, for people to read."""

    seq: int
    stage: str
    step: int
    kind: str
    """`samples`, or `evaluation`."""
    mean: float | None
    samples: tuple[Sample, ...]


class Log(Record):
    """What the driver of one attempt printed."""

    attempt: int
    """0 before the first."""
    text: str
    next_offset: int = 0
    """Where to go on reading."""
    ended: bool = False
    """No more is printed."""


class Checkpoint(Record):
    """A checkpoint in storage."""

    id: str
    stage: str
    step: int
    created_at: str
    bytes: int
    valid: bool
    """Only then is it resumed from."""
    fault: str | None
    metrics: dict[str, float]
    """Figures of the step it was saved after."""
    model: str | None
    """Name by which chats take it; None when it is no model."""


class Artefact(Record):
    """A file of a job."""

    path: str
    """Under the job's folder."""
    bytes: int
    modified_at: str


class Model(Record):
    """A finished job's model, or a base model of the operator's."""

    id: str
    name: str = ""
    path: str = ""
    """Folder on the service's storage."""
    owned_by: str = ""
    base: str | None = None
    """The model that its last stage began from."""
    chat: bool | None = None
    """Whether it has a chat template: if not, text goes on from a prompt."""


class FileRecord(Record):
    """An uploaded file."""

    id: str
    filename: str
    bytes: int
    created_at: int
    """Unix seconds."""
    path: str = ""
    """As a job's spec names it."""


class Deleted(Record):
    """What is gone."""

    id: str
    deleted: bool = True


class Lineage(Record):
    """Where a model comes from, and what came of it."""

    id: str
    job_id: str | None
    name: str
    inputs: list[dict[str, Any]]
    """Data with digests, and the models that it started from or was judged by."""
    descendants: list[str]
    """Jobs that read this model or were made from its job."""
