"""What a job's log adds up to at a glance."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    EvaluationCompared,
    EvaluationCompleted,
    StageCompleted,
    StageStarted,
    StatusChanged,
    StepCompleted,
    StoredEvent,
)
from rlhf_service.reports import PpoReport, PreferenceReport, StepReport, SupervisedReport


@dataclass(slots=True)
class StagePicture:
    """One stage: how far it is, and its main figure by step."""

    name: str
    step: int = 0
    steps: int = 0
    seconds: float | None = None
    """How long it took, once it is done."""
    figure: str = ""
    points: dict[int, float] = field(default_factory=dict)
    newest: StepReport | None = None
    evaluations: list[EvaluationCompleted] = field(default_factory=list)
    compared: EvaluationCompared | None = None


@dataclass(slots=True)
class Picture:
    """A job so far."""

    status: StatusChanged | None = None
    stages: dict[str, StagePicture] = field(default_factory=dict)
    alarms: dict[tuple[str, str], AlarmRaised] = field(default_factory=dict)

    def take(self, stored: StoredEvent) -> None:
        match stored.event:
            case StatusChanged() as event:
                self.status = event
            case StageStarted() as event:
                stage = self._stage(event.stage)
                stage.steps, stage.step = event.steps, event.from_step
            case StepCompleted() as event:
                stage = self._stage(event.stage)
                stage.step, stage.steps, stage.newest = event.step, event.steps, event.report
                stage.figure, stage.points[event.step] = main_figure(event.report)
            case StageCompleted() as event:
                self._stage(event.stage).seconds = event.seconds
            case EvaluationCompleted() as event:
                self._stage(event.stage).evaluations.append(event)
            case EvaluationCompared() as event:
                self._stage(event.stage).compared = event
            case AlarmRaised() as event:
                self.alarms[event.stage, event.alarm] = event
            case AlarmCleared() as event:
                self.alarms.pop((event.stage, event.alarm), None)
            case _:
                pass

    def _stage(self, name: str) -> StagePicture:
        return self.stages.setdefault(name, StagePicture(name))


def main_figure(report: StepReport) -> tuple[str, float]:
    """The one to draw."""
    match report:
        case SupervisedReport():
            return "loss", report.loss
        case PreferenceReport():
            return "accuracy", report.accuracy
        case PpoReport():
            return "reward", report.score_mean


def figures(report: StepReport) -> dict[str, str]:
    """The newest step in a few words."""
    match report:
        case SupervisedReport():
            held = report.validation_loss
            found = {
                "loss": f"{report.loss:.3f}",
                "held-out": "" if held is None else f"{held:.3f}",
            }
            speed = f"{report.tokens_per_second:,.0f} tokens/s"
        case PreferenceReport():
            held = report.validation_accuracy
            found = {
                "loss": f"{report.loss:.3f}",
                "accuracy": f"{report.accuracy:.1%}",
                "held-out": "" if held is None else f"{held:.1%}",
            }
            speed = f"{report.pairs_per_second:,.1f} pairs/s"
        case PpoReport():
            found = {
                "reward": f"{report.score_mean:+.3f}",
                "KL": f"{report.kl:.2f}",
                "entropy": f"{report.entropy:.2f}",
                "length": f"{report.response_length_mean:.0f}",
            }
            speed = f"{report.tokens_per_second:,.0f} tokens/s"
    return {name: text for name, text in {**found, "speed": speed}.items() if text}
