"""A job, live in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    Difference,
    EvaluationCompared,
    EvaluationCompleted,
    JobStopped,
    Log,
    PreflightCompleted,
    PromptQuarantined,
    Recovered,
    RoleStopped,
    StageCompleted,
    StageStarted,
    StatusChanged,
    StepCompleted,
    StoredEvent,
)
from rlhf_service.job import JobStatus
from rlhf_service.reports import PpoReport, PreferenceReport, StepReport, SupervisedReport

PLAIN_SECONDS = 5.0
"""Between two step lines when the output is no terminal."""


def figures(report: StepReport) -> str:
    """What a step says in a few words."""
    match report:
        case SupervisedReport():
            held = f" held-out {report.validation_loss:.3f}" if report.validation_loss else ""
            return f"loss {report.loss:.3f}{held} · {report.tokens_per_second:,.0f} tokens/s"
        case PreferenceReport():
            accuracy = report.validation_accuracy
            held = f" held-out {accuracy:.1%}" if accuracy is not None else ""
            return f"loss {report.loss:.3f} accuracy {report.accuracy:.1%}{held}"
        case PpoReport():
            return (
                f"reward {report.score_mean:+.3f} KL {report.kl:.2f} "
                f"length {report.response_length_mean:.0f} · {report.tokens_per_second:,.0f} tokens/s"
            )


class Watcher:
    """Shows events as they come; remembers what a summary needs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: StatusChanged | None = None
        self.evaluations: list[EvaluationCompleted] = []
        self.comparison: EvaluationCompared | None = None
        self._bars = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task_of: dict[str, int] = {}
        self._pace: dict[str, tuple[float, int]] = {}
        self._spoke_at = 0.0

    def run(self, events: Iterable[StoredEvent]) -> StatusChanged | None:
        """Show events until they end. Returns the last status."""
        with self._bars:
            for stored in events:
                self.show(stored)
        return self.status

    def show(self, stored: StoredEvent) -> None:
        match stored.event:
            case StatusChanged() as event:
                self.status = event
                self._say(f"[bold]{event.status}[/] {escape(event.message)}")
            case StageStarted() as event:
                again = f", going on after step {event.from_step}" if event.from_step else ""
                self._say(f"stage [bold]{event.stage}[/]: {event.steps} steps{again}")
                self._pace[event.stage] = (time.monotonic(), event.from_step)
            case StepCompleted() as event:
                self._step(event)
            case StageCompleted() as event:
                where = escape(event.model_path)
                self._say(f"stage {event.stage} done in {event.seconds:.0f} s → {where}")
            case EvaluationCompleted() as event:
                self.evaluations.append(event)
                self._say(
                    f"held-out reward after step {event.step}: "
                    f"{event.mean:+.3f} ± {event.standard_error:.3f} (n = {event.n})"
                )
                for metric in event.metrics:
                    self._say(f"  {metric.name} {metric.mean:.4f} ± {metric.standard_error:.4f}")
            case PreflightCompleted() as event:
                for warning in event.warnings:
                    self._say(f"[yellow]reward preflight: {escape(warning)}[/]")
            case AlarmRaised() as event:
                what = f"{event.alarm} {event.value:.3g} (threshold {event.threshold:g})"
                self._say(f"[yellow]alarm {what}: {escape(event.advice)}[/]")
            case AlarmCleared() as event:
                self._say(f"[green]alarm {event.alarm} is over[/]")
            case EvaluationCompared() as event:
                self.comparison = event
                for found in event.differences:
                    self._say(f"  {escape(difference_line(found))}")
            case RoleStopped() as event:
                what = "stalled" if event.stalled else "died"
                why = escape(f"{event.phase}: {event.message}")
                self._say(f"[yellow]{event.role} {what} in {why}[/]")
            case Recovered() as event:
                self._say(f"[green]{event.role} {escape(event.message)}[/]")
            case PromptQuarantined() as event:
                self._say(f"[yellow]prompt {event.prompt} set aside: {escape(event.message)}[/]")
            case Log() as event if event.level != "info":
                self._say(f"{event.level}: {escape(event.message)}")
            case JobStopped() as event if event.message:
                self._say(f"{event.reason}: {escape(event.message)}")
            case _:
                pass

    def _step(self, event: StepCompleted) -> None:
        text = figures(event.report)
        if self.console.is_terminal:
            if event.stage not in self._task_of:
                self._task_of[event.stage] = self._bars.add_task(
                    event.stage, total=event.steps, figures=""
                )
            task = self._task_of[event.stage]
            self._bars.update(task, completed=event.step, figures=text)  # type: ignore[arg-type]
            return
        now = time.monotonic()
        if now - self._spoke_at >= PLAIN_SECONDS or event.step == event.steps:
            self._spoke_at = now
            self._say(f"{event.stage} {event.step}/{event.steps} {text}{self._eta(event, now)}")

    def _eta(self, event: StepCompleted, now: float) -> str:
        began, first = self._pace.get(event.stage, (now, event.step))
        done = event.step - first
        if done <= 0 or event.step == event.steps:
            return ""
        return f" · {(event.steps - event.step) * (now - began) / done:.0f} s left"

    def _say(self, text: str) -> None:
        """Print rich markup; what others wrote must come escaped."""
        self._bars.console.print(text, highlight=False, soft_wrap=True)


def difference_line(found: Difference) -> str:
    """What a stage changed in one figure."""
    return (
        f"{found.name}: {found.before:.4f} → {found.after:.4f}, "
        f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}], p = {found.p_value:.2g}, "
        f"{found.n} prompts"
    )


def exit_code(status: StatusChanged | None) -> int:
    """0 only for a job that succeeded."""
    return 0 if status is not None and status.status is JobStatus.SUCCEEDED else 1
