"""Memory that freed tensors leave with the C library."""

from __future__ import annotations

import ctypes


def give_back_freed() -> None:
    """Return to the system what the allocator keeps of freed blocks; nothing where it cannot.

    glibc keeps blocks of up to 32 MiB on its heap for later ones: up to a hundred MiB after a stage's
    passes, on top of whatever is allocated in other sizes afterwards.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl, nor on macOS
    if trim is not None:
        trim(0)
