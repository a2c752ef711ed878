"""How much memory this process has held at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import Literal

from rlhf_service.events import MemoryMeasured

Role = Literal["driver", "learner", "rollout", "reward"]

UNIT = 1 if sys.platform == "darwin" else 1024
"""Of getrusage's ru_maxrss, in bytes."""


def measured(role: Role, process: int = 0) -> MemoryMeasured:
    """Of this process since it began, on the host and, where torch uses one, on its GPU. What it has
    looked at in Ray's object store is not its own, and stays mapped once it was looked at.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT - shared()
    return MemoryMeasured(role=role, process=process, peak=peak, gpu_peak=gpu_peak())


def shared() -> int:
    """Bytes of shared memory that are mapped now; 0 where the kernel does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^RssShmem:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def gpu_peak() -> int | None:
    """Bytes; None without torch or without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
