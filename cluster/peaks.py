"""How much memory this process has held at most."""

from __future__ import annotations

import resource
import sys
from typing import Literal

from rlhf_service.events import MemoryMeasured

Role = Literal["driver", "learner", "rollout", "reward"]

UNIT = 1 if sys.platform == "darwin" else 1024
"""Of getrusage's ru_maxrss, in bytes."""


def measured(role: Role, process: int = 0) -> MemoryMeasured:
    """Of this process since it began, on the host and, where torch uses one, on its GPU."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    return MemoryMeasured(role=role, process=process, peak=peak, gpu_peak=gpu_peak())


def gpu_peak() -> int | None:
    """Bytes; None without torch or without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
