"""How late the event loop is: what blocks it shows here before clients complain."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import deque

log = logging.getLogger("rlhf.loop")

TICK = 0.25
WINDOW = 10.0
"""Seconds over which the worst lag is told."""
STUCK = 5.0
"""Seconds without a tick after which a thread writes down where the loop is stuck."""


class LoopLag:
    """Consumes nothing; waits for its tick; a thread beside it waits for the loop."""

    def __init__(self) -> None:
        self._ticked = time.monotonic()
        self._late: deque[tuple[float, float]] = deque()
        self._loop_thread: int | None = None
        self._over = threading.Event()

    def worst(self) -> float:
        """Longest lag, in seconds, of the last WINDOW; that of the tick still missing included."""
        moment = time.monotonic()
        lags = [lag for at, lag in self._late if moment - at < WINDOW]
        return max([*lags, moment - self._ticked - TICK, 0.0])

    async def run(self) -> None:
        """Until cancelled."""
        self._loop_thread = threading.get_ident()
        watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._ticked = time.monotonic()
        watcher.start()
        try:
            while True:
                await asyncio.sleep(TICK)
                moment = time.monotonic()
                self._late.append((moment, moment - self._ticked - TICK))
                while self._late and moment - self._late[0][0] > WINDOW:
                    self._late.popleft()
                self._ticked = moment
        finally:
            self._over.set()

    def _watch(self) -> None:
        told = 0.0
        while not self._over.wait(1.0):
            ticked = self._ticked
            if time.monotonic() - ticked > STUCK and told != ticked:
                told = ticked
                frame = sys._current_frames().get(self._loop_thread or 0)
                where = "".join(traceback.format_stack(frame, limit=12)) if frame else ""
                log.error("the event loop is stuck for %g s at:\n%s", STUCK, where)
