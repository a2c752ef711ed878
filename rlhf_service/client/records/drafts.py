"""What is known of jobs that are still to be submitted."""

from __future__ import annotations

from typing import Any

from rlhf_service.client.records.base import Record


class FieldFault(Record):
    """What is wrong with one field, and what to do."""

    field: str | None
    message: str
    line: int | None
    """Of the text, from 1."""


class CheckedSpec(Record):
    """What a text says as a job."""

    spec: dict[str, Any] | None
    """With every default filled in; None when there are faults."""
    faults: list[FieldFault]
    note: str
    """What could not be checked."""


class Recipe(Record):
    """A complete job on real data."""

    name: str
    title: str


class PreparedRecipe(Recipe):
    """A recipe whose data is written."""

    seed: int
    spec: dict[str, Any]
    text: str
    """The same job as short YAML."""


class Estimate(Record):
    """A figure, or why there is none."""

    value: float | None
    unavailable: str | None = None
    at_least: bool = False
    """Parts of it are not known."""


class PlannedStage(Record):
    """One stage's time."""

    stage: str
    steps: int
    step: Estimate
    """Seconds of a step."""
    seconds: Estimate
    """Of all its steps and evaluations."""
    phases: dict[str, Estimate]


class PlannedRole(Record):
    """The most memory that one process of a role holds at a time."""

    role: str
    processes: int
    on: str
    bytes: Estimate


class Advice(Record):
    """A setting worth another value."""

    field: str
    now: str
    better: str
    why: str


class Plan(Record):
    """What a job will need."""

    device: str
    stages: list[PlannedStage]
    memory: list[PlannedRole]
    seconds: Estimate
    fits: bool | None
    """None when that cannot be said."""
    reasons: list[str]
    """What does not fit, and why; or what is not known."""
    advice: list[Advice]
    assumptions: list[str]
