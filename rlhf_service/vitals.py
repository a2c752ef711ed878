"""A process's sign of life: what it is doing, and how often it has got to something new."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

STACKS_SIGNAL = signal.SIGUSR1
"""At which a process writes its Python stacks beside its sign, also when it hangs."""

BEAT_SECONDS = 2.0
"""Between two signs of a process that has nothing new to say."""


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
    node: str
    """Ray's name of the machine; empty outside a cluster."""
    count: int
    """Phases so far: only rises while the process lives."""
    beats: int
    """Rises by itself for as long as the process's threads run, also within a long phase."""
    phase: str
    idle: bool
    """True when it waits to be asked: it may do so for ever."""
    at: float
    """Unix seconds at which the phase began."""
    path: Path

    @property
    def stacks(self) -> Path:
        return stacks_of(self.path)


class Vitals:
    """Writes this process's signs to a file of its own, from a thread of its own in between."""

    def __init__(self, path: Path, role: str, node: str = "") -> None:
        self._path, self._role, self._node = path, role, node
        self._count = self._beats = 0
        self._phase, self._idle, self._at = "", False, 0.0
        self._lock, self._over = threading.Lock(), threading.Event()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Open for as long as the process lives: the handler cannot open files.
        self._stacks = stacks_of(path).open("w", encoding="utf-8")
        faulthandler.register(STACKS_SIGNAL, file=self._stacks, all_threads=True)
        self.enter("start")
        threading.Thread(target=self._beat, name="vitals", daemon=True).start()

    def enter(self, phase: str) -> None:
        """Something new begins."""
        self._tell(phase, idle=False)

    def rest(self) -> None:
        """Nothing is asked of it."""
        self._tell(f"idle after {self._phase}", idle=True)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase with an end, after which it rests."""
        self.enter(phase)
        try:
            yield
        finally:
            self.rest()

    def close(self) -> None:
        """It ends as it should."""
        with self._lock:
            self._over.set()
            faulthandler.unregister(STACKS_SIGNAL)
            self._stacks.close()
            self._path.unlink(missing_ok=True)

    def _tell(self, phase: str, *, idle: bool) -> None:
        with self._lock:
            self._count += 1
            self._phase, self._idle, self._at = phase, idle, time.time()
            self._write()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with self._lock:
                if not self._over.is_set():
                    self._beats += 1
                    self._write()

    def _write(self) -> None:
        sign = {
            "role": self._role,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "node": self._node,
            "count": self._count,
            "beats": self._beats,
            "phase": self._phase,
            "idle": self._idle,
            "at": self._at,
        }
        # Not synced: a reader needs the newest, not one that outlives the machine. A disk that is
        # full is told of by whoever writes what counts.
        partial = self._path.with_suffix(".tmp")
        with suppress(OSError):
            partial.write_text(json.dumps(sign), encoding="utf-8")
            partial.replace(self._path)


def read_signs(folder: Path) -> list[Sign]:
    """The newest sign of each process that has left one, by role."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Sign(**json.loads(path.read_text(encoding="utf-8")), path=path))
        except (OSError, ValueError, TypeError):
            continue  # just replaced, or nothing of ours
    return found


def forget_signs(folder: Path, role: str) -> None:
    """Of a role's processes, which are gone, before others begin: there may be fewer, with none of
    their names.
    """
    for path in folder.glob(f"{role}*.json"):
        path.unlink(missing_ok=True)


def hindmost(signs: Sequence[Sign]) -> list[Sign]:
    """Those that the others wait for: whoever has come least far."""
    least = min((sign.count for sign in signs), default=0)
    return [sign for sign in signs if sign.count == least]


def stacks_of(path: Path) -> Path:
    return path.with_suffix(".stacks")
