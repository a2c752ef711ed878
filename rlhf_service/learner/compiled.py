"""Operators that torch compiles at first use, for DeepSpeed.

Processes that want the same one wait for a lock file, which a killed compiler leaves behind: they
would then wait for good.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

ABANDONED_SECONDS = 300.0
"""A compiler writes something sooner than that, on a busy machine too."""


def forget_abandoned_locks() -> list[Path]:
    """Remove the locks beside which nothing was written for long; tells which."""
    removed = []
    for lock in _root().glob("**/lock"):
        try:
            written = max(path.stat().st_mtime for path in lock.parent.iterdir())
            if time.time() - written > ABANDONED_SECONDS:
                lock.unlink()
                removed.append(lock)
        except OSError:  # somebody else took it away
            continue
    return removed


def _root() -> Path:
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return Path(given)
    from torch.utils.cpp_extension import get_default_build_root

    return Path(get_default_build_root())
