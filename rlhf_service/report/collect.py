"""A job's log as a report: what each stage did, and what it changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from rlhf_service.events import (
    AlarmRaised,
    Difference,
    EvaluationCompared,
    EvaluationCompleted,
    Measured,
    PreflightCompleted,
    PromptQuarantined,
    Sample,
    StageCompleted,
    StageStarted,
    StatusChanged,
    StepCompleted,
    StoredEvent,
)
from rlhf_service.reports import StepReport
from rlhf_service.spec.base import Section


class Series(Section):
    """One figure over the steps of a stage."""

    steps: list[int]
    values: list[float]


class Evaluated(Section):
    """The held-out figures after one step; 0 is the policy the stage started from."""

    step: int
    figures: list[Measured]
    """`reward` first. Without the scores of single responses."""


class SideBySide(Section):
    """One held-out prompt, answered before and after the stage."""

    before: Sample
    after: Sample


class StageReport(Section):
    """One stage."""

    name: str
    kind: str
    steps: int
    """Done."""
    planned: int
    seconds: float | None = None
    """None when the stage did not end."""
    series: dict[str, Series] = Field(default_factory=dict)
    """Every number of the step reports by its name; parts of a section are `section.part`."""
    evaluations: list[Evaluated] = Field(default_factory=list)
    differences: list[Difference] = Field(default_factory=list)
    """What the stage changed; paired bootstrap over prompts."""
    samples: list[SideBySide] = Field(default_factory=list)
    preflight: PreflightCompleted | None = None
    """What the reward paid for before the first step."""
    alarms: list[AlarmRaised] = Field(default_factory=list)
    quarantined: int = 0
    """Prompts set aside for want of a score."""


class JobReport(Section):
    """What is known of a job, running or ended."""

    schema_version: Literal[1] = 1
    job: str
    name: str
    status: str
    message: str
    seed: int
    spec: dict[str, Any]
    stages: list[StageReport]


KINDS = tuple(
    str(event.model_fields["type"].default)
    for event in (
        StatusChanged,
        StageStarted,
        StageCompleted,
        StepCompleted,
        EvaluationCompleted,
        EvaluationCompared,
        PreflightCompleted,
        AlarmRaised,
        PromptQuarantined,
    )
)
"""Types of the events that a report is made of."""


def collect(job: str, spec: dict[str, Any], events: Iterable[StoredEvent]) -> JobReport:
    """The report of `job` from its whole log. What a newer attempt says counts, whenever it came."""
    stages: dict[str, StageLog] = {}
    status, message = "", ""
    for stored in sorted(events, key=lambda stored: (stored.attempt, stored.seq)):
        event = stored.event
        if isinstance(event, StatusChanged):
            status, message = event.status, event.message
        elif isinstance(event, StageStarted):
            stages.setdefault(event.stage, StageLog(event))
        elif (name := getattr(event, "stage", None)) in stages:
            stages[name].take(event)
    return JobReport(
        job=job,
        name=str(spec.get("name", "")),
        status=status,
        message=message,
        seed=int(spec.get("seed", 0)),
        spec=spec,
        stages=[stage.report() for stage in stages.values()],
    )


class StageLog:
    """The events of one stage; of what is told twice, the newest counts."""

    def __init__(self, started: StageStarted) -> None:
        self._started = started
        self._steps: dict[int, StepReport] = {}
        self._evaluations: dict[int, EvaluationCompleted] = {}
        self._differences: tuple[Difference, ...] = ()
        self._alarms: dict[tuple[str, int], AlarmRaised] = {}
        self._quarantined: set[tuple[int, int]] = set()
        self._seconds: float | None = None
        self._preflight: PreflightCompleted | None = None

    def take(self, event: object) -> None:
        match event:
            case StepCompleted():
                self._steps[event.step] = event.report
            case EvaluationCompleted():
                self._evaluations[event.step] = event
            case EvaluationCompared():
                self._differences = event.differences
            case AlarmRaised():
                self._alarms[event.alarm, event.step] = event
            case PromptQuarantined():
                self._quarantined.add((event.step, event.prompt))
            case PreflightCompleted():
                self._preflight = event
            case StageCompleted():
                self._seconds = event.seconds
            case _:
                pass

    def report(self) -> StageReport:
        evaluations = [self._evaluations[step] for step in sorted(self._evaluations)]
        return StageReport(
            name=self._started.stage,
            kind=self._started.kind,
            steps=max(self._steps, default=0),
            planned=self._started.steps,
            seconds=self._seconds,
            series=series_of(self._steps),
            evaluations=[evaluated(evaluation) for evaluation in evaluations],
            differences=list(self._differences),
            samples=side_by_side(evaluations),
            preflight=self._preflight,
            alarms=[self._alarms[key] for key in sorted(self._alarms, key=lambda key: key[1])],
            quarantined=len(self._quarantined),
        )


def series_of(reports: dict[int, StepReport]) -> dict[str, Series]:
    """Each number of the reports over the steps that have it."""
    found: dict[str, Series] = {}
    for step in sorted(reports):
        for name, value in numbers(reports[step].model_dump()):
            line = found.setdefault(name, Series(steps=[], values=[]))
            line.steps.append(step)
            line.values.append(value)
    return found


def numbers(section: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)


def evaluated(evaluation: EvaluationCompleted) -> Evaluated:
    reward = Measured(
        name="reward",
        mean=evaluation.mean,
        standard_error=evaluation.standard_error,
        n=evaluation.n,
    )
    metrics = [metric.model_copy(update={"scores": ()}) for metric in evaluation.metrics]
    return Evaluated(step=evaluation.step, figures=[reward, *metrics])


def side_by_side(evaluations: list[EvaluationCompleted]) -> list[SideBySide]:
    """The first and the last policy on the same prompts."""
    if len(evaluations) < 2:
        return []
    first, last = evaluations[0], evaluations[-1]
    pairs = zip(first.samples, last.samples, strict=False)
    return [SideBySide(before=old, after=new) for old, new in pairs if old.prompt == new.prompt]
