"""Circuit breaker: a service that keeps failing is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class CircuitBreaker:
    """Opens after `failures` failed calls in a row; after `seconds` one call tries again.

    The trial's success closes the circuit, its failure opens it for another `seconds`. A trial that
    never reports counts as failed after `seconds`. Safe to share between threads.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._failed = 0
        self._next_trial: float | None = None  # None while closed
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Whether a call may be made now; True while open means that this call is the trial."""
        with self._lock:
            if self._next_trial is None:
                return True
            if self._clock() < self._next_trial:
                return False
            self._next_trial = self._clock() + self._seconds
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failed, self._next_trial = 0, None

    def failed(self) -> None:
        with self._lock:
            self._failed += 1
            if self._failed >= self._most:
                self._next_trial = self._clock() + self._seconds
