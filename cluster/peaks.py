"""How much memory this process has held at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import Literal

from rlhf_service.events import MemoryMeasured

Role = Literal["driver", "learner", "rollout", "reward"]

STORED = re.compile(r"/plasma[^\n]*\n(?:[A-Z]\w+:.*\n)*?Rss:\s+(\d+) kB")
"""What is resident of a mapping of Ray's object store, as the kernel lists it."""


def measured(role: Role, process: int = 0) -> MemoryMeasured:
    """Of this process since it began, on the host and, where torch uses one, on its GPU."""
    return MemoryMeasured(role=role, process=process, peak=host_peak(), gpu_peak=gpu_peak())


def host_peak() -> int:
    """Bytes resident at most, without what it has looked at in Ray's object store: that is shared by
    all, and stays mapped once it was looked at. A peak from before is told too small by as much.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        mappings = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux; there it is in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not getrusage's, which begins with what the process that started this one had.
    highest = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    stored = sum(map(int, STORED.findall(mappings)))
    return 1024 * max(0, int(highest[1] if highest else 0) - stored)


def gpu_peak() -> int | None:
    """Bytes; None without torch or without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
