"""What a job can say. Append-only; one gap-free list for each job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from rlhf_service.job import JobStatus, StopReason
from rlhf_service.reports import StepReport
from rlhf_service.spec.base import Section

Count = Annotated[int, Field(ge=0, lt=2**31)]
"""Of steps, rows, attempts: what every database can count to."""


class StatusChanged(Section):
    """The job moved to another status."""

    type: Literal["status"] = "status"
    status: JobStatus
    reason: StopReason | None = None
    message: str = ""


class StageStarted(Section):
    """A stage begins, or goes on from a checkpoint."""

    type: Literal["stage_started"] = "stage_started"
    stage: str
    kind: str
    steps: Count
    """Planned steps."""
    from_step: Count = 0
    """Steps already done, when it goes on from a checkpoint."""


class StageCompleted(Section):
    """A stage's model is written."""

    type: Literal["stage_completed"] = "stage_completed"
    stage: str
    model_path: str
    seconds: float


class StepCompleted(Section):
    """One optimiser step (supervised) or one PPO step."""

    type: Literal["step"] = "step"
    stage: str
    step: Count
    """1 is the first."""
    steps: Count
    report: StepReport
    replayed: bool = False
    """True when a restart repeats a step that was reported before; the newest counts."""


class Sample(Section):
    """One response, for people to read."""

    prompt: str
    response: str
    score: float
    components: dict[str, float] = Field(default_factory=dict)
    truncated: bool = False


class SamplesDrawn(Section):
    """A few responses of a step or an evaluation."""

    type: Literal["samples"] = "samples"
    stage: str
    step: Count
    samples: tuple[Sample, ...]


class Measured(Section):
    """One figure of an evaluation."""

    name: str
    mean: float
    standard_error: float
    n: Count
    """Responses scored."""
    scores: tuple[float | None, ...] = ()
    """Of each (prompt, sample), prompts outermost; None where it could not be had."""


class EvaluationCompleted(Section):
    """Held-out score of a policy."""

    type: Literal["evaluation"] = "evaluation"
    stage: str
    step: Count
    """Policy after this many steps; 0 is the policy the stage started from."""
    mean: float
    standard_error: float
    n: Count
    """Responses scored."""
    scores: tuple[float | None, ...] = ()
    """Of each (prompt, sample), prompts outermost; None where it could not be had."""
    metrics: tuple[Measured, ...] = ()
    """Further graders of the same responses."""
    samples: tuple[Sample, ...] = ()


SIGNIFICANT = 0.05
"""Greatest p of what is called a difference."""


class Difference(Section):
    """What a stage changed in one held-out figure; paired bootstrap over prompts."""

    name: str
    """`reward`, or the metric's name."""
    before: float
    after: float
    difference: float
    low: float
    """95 % interval of the difference."""
    high: float
    p_value: float
    """Two-sided."""
    n: Count
    """Prompts compared."""

    @property
    def rose(self) -> bool:
        """Whether it rose beyond chance."""
        return self.difference > 0 and self.p_value < SIGNIFICANT


class EvaluationCompared(Section):
    """The policy a stage ended with against the one it started from, on the same prompts."""

    type: Literal["evaluation_compared"] = "evaluation_compared"
    stage: str
    step: Count
    differences: tuple[Difference, ...]


class PreflightCompleted(Section):
    """What the reward pays for, before anything is trained on it."""

    type: Literal["preflight"] = "preflight"
    stage: str
    n: Count
    """Sampled responses."""
    mean: float | None
    """Of their scores; None when none could be scored."""
    standard_deviation: float | None
    quartiles: tuple[float, ...]
    failures: dict[str, int]
    """Kind of failure → responses."""
    equal_groups: float | None
    """Share of prompts whose responses all score the same; None with one response each."""
    scores_per_second: float
    trivial: dict[str, float | None]
    """Answer that says nothing → its mean score."""
    warnings: tuple[str, ...] = ()


class AlarmRaised(Section):
    """Training looks unwell: a figure was beyond its threshold for some steps in a row."""

    type: Literal["alarm"] = "alarm"
    stage: str
    step: Count
    alarm: str
    """The threshold's name in `health`."""
    value: float
    threshold: float
    advice: str
    """What it means and what to try."""


class AlarmCleared(Section):
    """The figure of a raised alarm is back within its threshold."""

    type: Literal["alarm_cleared"] = "alarm_cleared"
    stage: str
    step: Count
    alarm: str


class CheckpointSaved(Section):
    """A checkpoint's MANIFEST is written."""

    type: Literal["checkpoint"] = "checkpoint"
    stage: str
    step: Count
    path: str
    seconds: float


class Recovered(Section):
    """A restarted part goes on; says from where."""

    type: Literal["recovered"] = "recovered"
    role: str
    message: str


class RoleStopped(Section):
    """A role died or stalled. `phase` is the last thing it was doing."""

    type: Literal["role_stopped"] = "role_stopped"
    role: str
    phase: str
    stalled: bool
    """True when it lives but did not answer in time."""
    message: str


class PromptQuarantined(Section):
    """A prompt was set aside: no score could be had for it."""

    type: Literal["prompt_quarantined"] = "prompt_quarantined"
    stage: str
    step: Count
    prompt: int = Field(ge=0, lt=2**53)
    """Row of the prompt file, from 0."""
    message: str


class Log(Section):
    """One line worth keeping."""

    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class MemoryMeasured(Section):
    """The most memory that a process of the job has held; said when it is done."""

    type: Literal["memory"] = "memory"
    role: Literal["driver", "learner", "rollout", "reward", "weights"]
    process: int = Field(default=0, ge=0)
    """Rank of a learner, number of an actor."""
    peak: int = Field(ge=0, le=2**53)
    """Resident bytes, without what it looked at in Ray's object store."""
    gpu_peak: int | None = Field(default=None, ge=0, le=2**53)
    """Bytes that torch held on a GPU."""


class JobStopped(Section):
    """The driver's last word on an attempt: how it ended."""

    type: Literal["job_stopped"] = "job_stopped"
    reason: StopReason
    message: str = ""
    retryable: bool = False
    """True when another attempt may succeed."""


Event = Annotated[
    StatusChanged
    | StageStarted
    | StageCompleted
    | StepCompleted
    | SamplesDrawn
    | EvaluationCompleted
    | EvaluationCompared
    | PreflightCompleted
    | AlarmRaised
    | AlarmCleared
    | CheckpointSaved
    | Recovered
    | RoleStopped
    | PromptQuarantined
    | Log
    | MemoryMeasured
    | JobStopped,
    Field(discriminator="type"),
]


class EventRecord(Section):
    """An event as its producer wrote it. (job_id, producer, producer_seq) is unique.

    A producer is one process life, for instance `a1-driver` or `a1-learner-2` (attempt 1, the
    learner group's third start), so its sequence needs no coordination.
    """

    job_id: str
    attempt: Count
    """0 is the control plane itself."""
    producer: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    producer_seq: int = Field(ge=1, lt=2**31)
    created_at: datetime
    event: Event


class StoredEvent(Section):
    """An event in the control plane's log: `seq` counts 1, 2, 3 … for each job without gaps."""

    seq: int = Field(ge=1)
    job_id: str
    attempt: Count
    producer: str
    producer_seq: int
    created_at: datetime
    event: Event


event_adapter: TypeAdapter[Event] = TypeAdapter(Event)
