"""Memory, disk, shared memory and ports."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import psutil

from rlhf_service.cli.doctor.finding import Finding, Level, fail, ok, warn

GIB = 2**30
LEAST_MEMORY, GOOD_MEMORY = 2.0, 4.0  # GiB; the demo's peak is 3.2
LEAST_DISK, GOOD_DISK = 1.0, 5.0  # GiB
FULL = 0.95
"""Share of a disk above which Ray writes no object to it."""
STORE = 0.5  # GiB of Ray's object store in the embedded cluster
CGROUP = Path("/sys/fs/cgroup")


def memory() -> Finding:
    free = min(psutil.virtual_memory().available, allowed()) / GIB
    return enough("Memory", free, LEAST_MEMORY, GOOD_MEMORY, "end other programs, or add memory")


def allowed(root: Path = CGROUP) -> float:
    """Bytes that this container may still take; infinite without a limit."""
    try:
        most = int((root / "memory.max").read_text())
        return most - int((root / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def disk(folder: Path) -> Finding:
    name = f"Disk of {folder}"
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    remedy = "delete old jobs and models, or choose another --folder"
    found = enough(name, usage.free / GIB, LEAST_DISK, GOOD_DISK, remedy)
    # Not 1 - free / total: some of a disk may be kept for root.
    if found.level is Level.OK and usage.used / (usage.used + usage.free) > FULL:
        remedy = "free some: Ray does not spill objects to a disk that is over 95 % full"
        return warn(name, f"{found.said}, but over {FULL:.0%} full", remedy)
    return found


def storage(folder: Path) -> Finding:
    """Whether the folder, or the one that it would be made in, can be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok("Storage", f"{folder} can be written to")
    remedy = f"choose another --folder, or: chown {os.getuid()} {there}"
    return fail("Storage", f"{there} cannot be written to", remedy)


def shared_memory(path: Path = Path("/dev/shm")) -> Finding:
    name = "Shared memory"
    if not path.is_dir():
        return warn(name, f"there is no {path}", "Ray keeps objects on disk instead, which is slow")
    free = shutil.disk_usage(path).free / GIB
    if free < STORE:
        remedy = "start the container with --shm-size=2g; until then Ray keeps objects on disk"
        return warn(name, f"{free:.2f} GiB free", remedy)
    return ok(name, f"{free:.1f} GiB free")


def port(number: int) -> Finding:
    """Whether `rlhf serve` could listen there."""
    name = f"Port {number}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as fault:
            remedy = "fine if that is your `rlhf serve`; else start it with another --port"
            return warn(name, f"taken ({fault.strerror})", remedy)
    return ok(name, "free")


def enough(name: str, free: float, least: float, good: float, remedy: str) -> Finding:
    said = f"{free:.1f} GiB free"
    if free < least:
        return fail(name, f"{said}, {least:g} are needed", remedy)
    if free < good:
        return warn(name, f"{said}, {good:g} are better", remedy)
    return ok(name, said)
