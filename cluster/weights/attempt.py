"""Something that may hang in a library, done on a thread that is given up when it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rlhf_service.errors import WeightsUnavailable

SILENT_SECONDS = 45.0
"""Without a sign of it; longer than members may take to meet."""
POLL_SECONDS = 0.005


class Attempt:
    """Begun when made."""

    def __init__(self, work: Callable[[Callable[[], None]], None]) -> None:
        """`work` is given what it calls as long as it goes on."""
        self._beat = time.monotonic()
        self._fault: str | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(work,), name="broadcast", daemon=True).start()

    def wait(self, check: Callable[[], object]) -> None:
        """Until it is done. Raises what `check` raises meanwhile, and WeightsUnavailable if it failed or
        says nothing any more; its thread is then left to itself.
        """
        while not self._done.wait(POLL_SECONDS):
            check()
            if time.monotonic() - self._beat > SILENT_SECONDS:
                raise WeightsUnavailable(f"nothing moved for {SILENT_SECONDS:g} s")
        if self._fault is not None:
            raise WeightsUnavailable(self._fault)

    def _run(self, work: Callable[[Callable[[], None]], None]) -> None:
        try:
            work(self._goes_on)
        except Exception as fault:  # as words, which hold on to nothing
            self._fault = str(fault) or type(fault).__name__
        finally:
            self._done.set()

    def _goes_on(self) -> None:
        self._beat = time.monotonic()
