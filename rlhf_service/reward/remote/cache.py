"""Judges' answers, so that the same question is paid for once."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from rlhf_service.reward.operator import Operator
from rlhf_service.spec.judges import ModelJudge

BUSY_SECONDS = 10.0


class AnswerCache(Protocol):
    """Question's digest → score."""

    def get(self, key: str) -> float | None:
        """None when it is not known."""
        ...

    def put(self, key: str, value: float) -> None:
        """Remember."""
        ...


def build_cache(spec: ModelJudge, operator: Operator) -> AnswerCache:
    """The one that the spec asks for."""
    if spec.cache == "none":
        return MemoryCache(0)
    memory = MemoryCache(spec.cache_entries)
    if spec.cache == "disk" and operator.judge_cache is not None:
        return DiskCache(operator.judge_cache / "judges.sqlite", memory)
    return memory


class MemoryCache:
    """The answers used last."""

    def __init__(self, entries: int) -> None:
        self._most = entries
        self._known: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> float | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: str, value: float) -> None:
        with self._lock:
            self._known[key] = value
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


class DiskCache:
    """Behind the memory a SQLite file that several processes share.

    A file that cannot be read or written costs a question, never a score.
    """

    def __init__(self, path: Path, memory: MemoryCache) -> None:
        self._path, self._memory = path, memory

    def get(self, key: str) -> float | None:
        known = self._memory.get(key)
        if known is not None:
            return known
        try:
            with self._connected() as file:
                row = file.execute("SELECT score FROM answers WHERE key = ?", (key,)).fetchone()
        except (sqlite3.Error, OSError):
            return None
        if row is None:
            return None
        self._memory.put(key, float(row[0]))
        return float(row[0])

    def put(self, key: str, value: float) -> None:
        self._memory.put(key, value)
        try:
            with self._connected() as file:
                file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))
        except (sqlite3.Error, OSError):
            return

    def _connected(self) -> Connected:
        return Connected(self._path)


class Connected:
    """One transaction; its connection is closed with it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, score REAL)")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._file.commit()
        finally:
            self._file.close()
