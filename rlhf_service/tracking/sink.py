"""The EventSink that feeds trackers with what it passes on."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_service.events import (
    EvaluationCompleted,
    Event,
    Log,
    SamplesDrawn,
    StepCompleted,
)
from rlhf_service.ports import EventSink
from rlhf_service.spec.base import Section
from rlhf_service.tracking.base import Tracker


class TrackedSink:
    """Passes every event on; a tracker that fails is left out from then on, and the job told once."""

    def __init__(self, sink: EventSink, trackers: Mapping[str, Tracker]) -> None:
        self._sink, self._trackers = sink, dict(trackers)

    def emit(self, event: Event) -> None:
        self._sink.emit(event)
        for name, tracker in list(self._trackers.items()):
            try:
                track(tracker, event)
            except Exception as fault:
                self._drop(name, fault)

    def close(self) -> None:
        """Let the trackers finish."""
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.close()
            except Exception as fault:
                self._drop(name, fault)

    def _drop(self, name: str, fault: Exception) -> None:
        del self._trackers[name]
        message = f"tracker {name} failed and gets nothing more: {fault!r}"[:500]
        self._sink.emit(Log(level="warning", message=message))


def track(tracker: Tracker, event: Event) -> None:
    """What a tracker takes of an event. A repeated step is one it has."""
    match event:
        case StepCompleted(replayed=False):
            tracker.figures(event.stage, event.step, numbers(event.report))
        case EvaluationCompleted():
            means = {metric.name: metric.mean for metric in event.metrics}
            held_out = {
                f"held_out/{name}": v for name, v in {"reward": event.mean, **means}.items()
            }
            tracker.figures(event.stage, event.step, held_out)
        case SamplesDrawn():
            shown = [f"**{s.prompt}**\n\n{s.response}\n\n`{s.score:.4g}`" for s in event.samples]
            tracker.text(event.stage, event.step, "samples", "\n\n---\n\n".join(shown))
        case _:
            pass


def numbers(report: Section) -> dict[str, float]:
    """Every number of a report; those in its parts as `part/name`."""
    found: dict[str, float] = {}
    for name, value in report.model_dump(exclude_none=True).items():
        if isinstance(value, dict):
            found |= {f"{name}/{part}": float(v) for part, v in value.items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found
