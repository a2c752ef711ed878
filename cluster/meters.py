"""Readings as Ray's metrics, which each node's agent exports for Prometheus."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.readings import COMMON, FIGURES, SECONDS, Reading, readings
from rlhf_service.events import Event
from rlhf_service.ports import EventSink

log = logging.getLogger(__name__)


class RayMeters:
    """The metrics of one process of a job. What goes wrong with them is never the job's affair."""

    def __init__(self, job: str, role: str, rank: int) -> None:
        # Ray does not tell processes of one kind on a node apart by itself.
        self._common = dict(zip(COMMON, (job, role, str(rank)), strict=True))
        self._metrics: dict[str, Any] = {}
        self._broken = False

    @classmethod
    def of_actor(cls, name: str) -> RayMeters:
        """Of the actor named `rlhf/<job>/<role>-<index>`."""
        _, job, role = name.split("/")
        kind, _, index = role.rpartition("-")
        return cls(job, kind, int(index))

    def take(self, found: Iterable[Reading]) -> None:
        for reading in found:
            if self._broken:
                return
            try:
                self._record(reading)
            except Exception:
                log.exception("no metrics from now on: %s could not be recorded", reading.name)
                self._broken = True

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Observe how long it takes."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.take([Reading(name, time.monotonic() - start)])

    def _record(self, reading: Reading) -> None:
        figure, tags = FIGURES[reading.name], {**self._common, **reading.tags}
        metric = self._metrics.get(reading.name)
        if metric is None:
            metric = self._metrics[reading.name] = self._made(reading.name)
        match figure.kind:
            case "gauge":
                metric.set(reading.value, tags=tags)
            case "counter":
                if reading.value > 0:
                    metric.inc(reading.value, tags=tags)
            case "histogram":
                metric.observe(reading.value, tags=tags)

    def _made(self, name: str) -> Any:
        from ray.util import metrics

        figure = FIGURES[name]
        keys = (*COMMON, *figure.tags)
        match figure.kind:
            case "gauge":
                return metrics.Gauge(name, figure.about, keys)
            case "counter":
                return metrics.Counter(name, figure.about, keys)
            case "histogram":
                return metrics.Histogram(name, figure.about, list(SECONDS), keys)


class MeteredSink:
    """The EventSink that reads the meters off what it passes on."""

    def __init__(self, sink: EventSink, meters: RayMeters) -> None:
        self._sink, self._meters = sink, meters

    def emit(self, event: Event) -> None:
        self._sink.emit(event)
        self._meters.take(readings(event, time.time()))
