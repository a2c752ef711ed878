"""A process's sign of life: what it is doing, and how often it has got to something new."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STACKS_SIGNAL = signal.SIGUSR1
"""At which a process writes its Python stacks beside its sign, also when it hangs."""


def ignore(phase: str) -> None:
    """Nobody listens."""


Entered = Callable[[str], None]
"""Told the name of each phase when it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """The newest sign of one process."""

    role: str
    pid: int
    host: str
    count: int
    """Only rises while the process lives."""
    phase: str
    at: float
    """Unix seconds at which the phase began."""
    path: Path

    @property
    def stacks(self) -> Path:
        return stacks_of(self.path)


class Vitals:
    """Writes this process's signs to a file of its own."""

    def __init__(self, path: Path, role: str) -> None:
        self._path, self._role, self._count = path, role, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # Open for as long as the process lives: the handler cannot open files.
        self._stacks = stacks_of(path).open("w", encoding="utf-8")
        faulthandler.register(STACKS_SIGNAL, file=self._stacks, all_threads=True)
        self.enter("start")

    def enter(self, phase: str) -> None:
        """Something new begins."""
        self._count += 1
        sign = {
            "role": self._role,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "count": self._count,
            "phase": phase,
            "at": time.time(),
        }
        # Not synced: a reader needs the newest, not one that outlives the machine. A disk that is
        # full is told of by whoever writes what counts.
        partial = self._path.with_suffix(".tmp")
        with suppress(OSError):
            partial.write_text(json.dumps(sign), encoding="utf-8")
            partial.replace(self._path)

    def close(self) -> None:
        """It ends as it should."""
        faulthandler.unregister(STACKS_SIGNAL)
        self._stacks.close()
        self._path.unlink(missing_ok=True)


def read_signs(folder: Path) -> list[Sign]:
    """The newest sign of each process that has left one, by role."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Sign(**json.loads(path.read_text(encoding="utf-8")), path=path))
        except (OSError, ValueError, TypeError):
            continue  # just replaced, or nothing of ours
    return found


def hindmost(signs: Sequence[Sign]) -> list[Sign]:
    """Those that the others wait for: whoever has come least far."""
    least = min((sign.count for sign in signs), default=0)
    return [sign for sign in signs if sign.count == least]


def stacks_of(path: Path) -> Path:
    return path.with_suffix(".stacks")
