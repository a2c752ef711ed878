"""What a job really took, from its log, beside what was planned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from pydantic import Field

from rlhf_service.events import Event, MemoryMeasured, StepCompleted
from rlhf_service.planning.device import Role
from rlhf_service.planning.records import JobPlan, Phase
from rlhf_service.reports import PpoReport
from rlhf_service.spec.base import Section

PHASES: tuple[Phase, ...] = ("generate", "judge", "annotate", "update", "publish")


class StageActual(Section):
    """Seconds of a stage's steps, medians; the first step, which also warms up, counts only alone."""

    steps: int
    """Steps reported."""
    step: float
    phases: dict[Phase, float] = Field(default_factory=dict)


class Actual(Section):
    """What was measured while the job ran."""

    memory: dict[Role, int] = Field(default_factory=dict)
    """Greatest resident bytes of any process of the role, Ray's object store left out."""
    gpu_memory: dict[Role, int] = Field(default_factory=dict)
    """Greatest bytes that torch held on a GPU in any process of the role."""
    stages: dict[str, StageActual] = Field(default_factory=dict)


class Miss(Section):
    """A planned figure against what was measured."""

    what: str
    """`memory of learner`, `step of ppo`, `update of ppo`."""
    planned: float
    actual: float
    error: float
    """(planned − actual) / actual."""


def actual_of(events: Iterable[Event]) -> Actual:
    """From a job's events; a step reported twice counts as it was last."""
    memory: dict[Role, int] = {}
    gpu: dict[Role, int] = {}
    steps: dict[str, dict[int, StepCompleted]] = defaultdict(dict)
    for event in events:
        if isinstance(event, MemoryMeasured):
            memory[event.role] = max(memory.get(event.role, 0), event.peak)
            if event.gpu_peak is not None:
                gpu[event.role] = max(gpu.get(event.role, 0), event.gpu_peak)
        elif isinstance(event, StepCompleted):
            steps[event.stage][event.step] = event
    stages = {name: _stage(list(found.values())) for name, found in steps.items()}
    return Actual(memory=memory, gpu_memory=gpu, stages=stages)


def _stage(found: list[StepCompleted]) -> StageActual:
    counted = [e.report for e in found if e.step > 1] or [e.report for e in found]
    ppo = [report for report in counted if isinstance(report, PpoReport)]
    if ppo:
        phases = {phase: median(spent(report, phase) for report in ppo) for phase in PHASES}
        step = median(report.seconds.total for report in ppo)
        return StageActual(steps=len(found), step=step, phases=phases)
    seconds = [report.seconds for report in counted if not isinstance(report, PpoReport)]
    return StageActual(steps=len(found), step=median(seconds))


def spent(report: PpoReport, phase: Phase) -> float:
    """Seconds of a phase, in the step or ahead of it."""
    here: float = getattr(report.seconds, phase)
    return here + getattr(report.ahead_seconds, phase, 0.0)


def misses(plan: JobPlan, actual: Actual) -> list[Miss]:
    """Every figure that was both planned and measured."""
    found = []
    for role in plan.memory:
        measured = actual.memory if role.on == "cpu" else actual.gpu_memory
        stored = [part.name for part in role.parts] == ["object store"]
        if role.role in measured and not stored and not role.bytes.at_least:
            found += _miss(f"memory of {role.role}", role.bytes.value, measured[role.role])
    for stage in plan.stages:
        if stage.stage not in actual.stages:
            continue
        measured_stage = actual.stages[stage.stage]
        if not stage.step.at_least:
            found += _miss(f"step of {stage.stage}", stage.step.value, measured_stage.step)
        for phase, seconds in measured_stage.phases.items():
            if phase in stage.phases:
                found += _miss(f"{phase} of {stage.stage}", stage.phases[phase].value, seconds)
    return found


def _miss(what: str, planned: float | None, actual: float) -> list[Miss]:
    if planned is None or actual <= 0:
        return []
    return [Miss(what=what, planned=planned, actual=actual, error=(planned - actual) / actual)]
