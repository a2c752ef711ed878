"""Where a step's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rlhf_service.reports import PhaseSeconds
from rlhf_service.vitals import Entered, ignore

PARTS = ("decode_tail", "optimizer")
"""Seconds that a phase's own contain."""


class PhaseClock:
    """Seconds of each phase of a step; a phase entered again adds to its seconds."""

    def __init__(self, entered: Entered = ignore) -> None:
        self._entered = entered
        self._started = time.perf_counter()
        self._phases = PhaseSeconds()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._entered(name)
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """To a phase, or to what is known of a part of one."""
        spent = getattr(self._phases, name) + seconds
        self._phases = self._phases.model_copy(update={name: spent})

    def seconds(self) -> PhaseSeconds:
        total = time.perf_counter() - self._started
        other = max(0.0, total - sum(self._phases.model_dump(exclude=set(PARTS)).values()))
        return self._phases.model_copy(update={"other": other, "total": total})
