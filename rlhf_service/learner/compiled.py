"""Operators that torch compiles at first use, for DeepSpeed.

Processes that want the same one wait for a lock file, which a killed compiler leaves behind: they
would then wait for good.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf_service.errors import OperatorUncompiled

ABANDONED_SECONDS = 300.0
"""A compiler writes something sooner than that, on a busy machine too."""

UNBUILT = "Error building extension"
"""How torch begins what it says of one that does not compile; all of the compiler's output follows."""


@contextmanager
def compiling() -> Iterator[None]:
    """While an operator may be built. Raises OperatorUncompiled with the compiler's first complaint."""
    try:
        yield
    except RuntimeError as fault:
        said = str(fault)
        if UNBUILT not in said:
            raise
        complaints = (line for line in said.splitlines() if "error:" in line or "not found" in line)
        first = next(complaints, "the log has the compiler's output").strip()
        raise OperatorUncompiled(
            f"an operator of DeepSpeed does not compile on {socket.gethostname()}: {first}; "
            "`rlhf doctor` says there what is missing (g++, or Python's headers)"
        ) from fault


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
