"""Timing on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def now() -> float:
    """Seconds of work done: with one thread the process's own, so that waiting for a core that others
    use does not count; of the clock on the wall with more.
    """
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def fastest(work: Callable[[], object], *, seconds: float = 0.1, least: int = 3) -> float:
    """Seconds of the fastest of several runs: what else the machine does only makes it slower."""
    work()
    best, spent, runs = float("inf"), 0.0, 0
    while runs < least or spent < seconds:
        started = now()
        work()
        took = now() - started
        best, spent, runs = min(best, took), spent + took, runs + 1
    return best
