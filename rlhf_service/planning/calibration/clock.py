"""Timing on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from rlhf_service.models.settled import settled

QUEUED = 2e-3
"""Seconds of work that a GPU is given at once: jobs queue it, too, and do not wait for each call."""
MOST = 100
"""Calls that are queued at once."""


def wall(device: torch.device) -> float:
    """Seconds of the clock on the wall, once a GPU has settled."""
    settled(device)
    return time.perf_counter()


def now(device: torch.device) -> float:
    """Seconds of work done. On a CPU: with one thread the process's own, so that waiting for a core that
    others use does not count; of the clock on the wall with more, and once a GPU has settled.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else wall(device)


def fastest(
    work: Callable[[], object], device: torch.device, *, seconds: float = 0.1, least: int = 3
) -> float:
    """Seconds of a run among the fastest of several: what else the machine does makes runs slower. One
    in ten is passed over, as a virtual machine's kernel, which takes time that the host stole off
    the clock of whoever runs when it hears of it, now and then leaves a run with none.
    """
    work()
    calls = at_once(work, device)
    runs: list[float] = []
    spent = 0.0
    while len(runs) < least or spent < seconds:
        started = now(device)
        for _ in range(calls):
            work()
        runs.append(now(device) - started)
        spent += runs[-1]
    return sorted(runs)[len(runs) // 10] / calls


def at_once(work: Callable[[], object], device: torch.device) -> int:
    """Calls between two looks at the clock."""
    if device.type == "cpu":
        return 1
    started = now(device)
    work()
    return max(1, min(MOST, round(QUEUED / (now(device) - started))))
