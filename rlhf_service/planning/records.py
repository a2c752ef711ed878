"""What a plan says. A figure that is not known is null, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from rlhf_service.planning.device import Role
from rlhf_service.spec.base import Section

Phase = Literal["generate", "judge", "annotate", "update", "publish"]


class Estimate(Section):
    """A figure, or why there is none."""

    value: float | None = None
    unavailable: str | None = None
    """Why `value` is null, or what it leaves out."""
    at_least: bool = False
    """True when parts of it are not known."""

    @classmethod
    def none(cls, why: str) -> Estimate:
        return cls(unavailable=why)


def total(parts: Iterable[Estimate]) -> Estimate:
    """The sum of what is known."""
    found = list(parts)
    known = [part.value for part in found if part.value is not None]
    why = "; ".join(dict.fromkeys(p.unavailable for p in found if p.unavailable)) or None
    if not known:
        return Estimate(unavailable=why)
    return Estimate(value=sum(known), unavailable=why, at_least=why is not None)


def longest(parts: Iterable[Estimate]) -> Estimate:
    """Of parts side by side: the longest that is known, and what is not known of the others."""
    found = list(parts)
    known = [part.value for part in found if part.value is not None]
    return total(found).model_copy(update={"value": max(known, default=None)})


def times(count: float, one: Estimate) -> Estimate:
    """`one`, so many times."""
    return one.model_copy(update={"value": None if one.value is None else count * one.value})


class MemoryPart(Section):
    """What a part of a process's memory is for."""

    name: str
    bytes: int


class RoleMemory(Section):
    """The most that one process of a role holds at a time."""

    role: Role
    processes: int
    """How many of them run."""
    on: Literal["cpu", "cuda"]
    """Where these bytes lie."""
    bytes: Estimate
    """Of one process."""
    stage: str | None = None
    """The stage that needs most."""
    parts: tuple[MemoryPart, ...] = ()


class StagePlan(Section):
    """One stage's time."""

    stage: str
    kind: str
    steps: int
    parameters: int | None
    """Of the network that it trains, the frozen ones among them."""
    trained: int | None
    """Of those, the ones that learn."""
    phases: dict[Phase, Estimate]
    """Seconds of each phase of a step; supervised stages have `update` alone."""
    step: Estimate
    """Seconds of a step."""
    seconds: Estimate
    """Of all its steps and evaluations; without start-up, validation and checkpoints."""


class Advice(Section):
    """A setting worth another value."""

    field: str
    """Dotted."""
    now: str
    better: str
    why: str


class JobPlan(Section):
    """What a job will need."""

    object: Literal["job_plan"] = "job_plan"
    device: str
    """What the learners run on."""
    source: str
    """Where its figures come from."""
    memory: tuple[RoleMemory, ...]
    stages: tuple[StagePlan, ...]
    seconds: Estimate
    """Of all stages."""
    fits: bool | None
    """Null when that cannot be said."""
    reasons: tuple[str, ...]
    """What does not fit, and why; or what is not known."""
    advice: tuple[Advice, ...]
    assumptions: tuple[str, ...] = Field(default=())
    """What the figures take for granted."""
