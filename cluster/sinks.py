"""Where events go: first the job's own files, then, by a thread of the driver, the control plane."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import httpx

from rlhf_service.errors import StorageError
from rlhf_service.events import Event, EventRecord
from rlhf_service.storage import JobFolder

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
BATCH = 500
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
POST_TIMEOUT = 10.0
REFUSED_FOR_GOOD = frozenset({400, 413, 422})
"""Asking again would not help; the events stay on disk."""


class JsonlSink:
    """The EventSink port on a file: one producer, one event a line, on disk when `emit` returns."""

    def __init__(self, folder: JobFolder, job_id: str, attempt: int, producer: str) -> None:
        self._job_id, self._attempt, self._producer = job_id, attempt, producer
        self._path = folder.events / f"{producer}.jsonl"
        self._lock = threading.Lock()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._seq = mend(self._path)
            self._out = self._path.open("ab", buffering=0)
        except OSError as fault:
            raise self._failed(fault) from fault

    def emit(self, event: Event) -> None:
        with self._lock:
            record = EventRecord(
                job_id=self._job_id,
                attempt=self._attempt,
                producer=self._producer,
                producer_seq=self._seq + 1,
                created_at=datetime.now(UTC),
                event=event,
            )
            try:
                if self._taken():
                    self._begin_again()
                end = self._out.seek(0, os.SEEK_END)
            except OSError as fault:
                raise self._failed(fault) from fault
            try:
                write_whole(self._out, (record.model_dump_json() + "\n").encode())
                os.fsync(self._out.fileno())
            except OSError as fault:
                # What was half written would stand before the next event, under the same number.
                with suppress(OSError):
                    self._out.truncate(end)
                raise self._failed(fault) from fault
            self._seq += 1

    def _taken(self) -> bool:
        """Whether the file was deleted, or moved with its folder."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._out.fileno()))

    def _begin_again(self) -> None:
        """The job's folder was taken away: what is said from now on is on disk all the same."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        gone, self._out = self._out, self._path.open("ab", buffering=0)
        gone.close()

    def _failed(self, fault: OSError) -> StorageError:
        return StorageError(
            f"event file {self._path} could not be written: {fault}; free some space and resume"
        )


def write_whole(out: FileIO, data: bytes) -> None:
    """Write all of it; a nearly full disk takes only a part at first."""
    while data:
        data = data[out.write(data) :]


def mend(path: Path) -> int:
    """Cut off a line torn by a kill. Returns how many whole lines stay."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        with path.open("r+b") as out:
            out.truncate(len(whole))
    return whole.count(b"\n")


class Forwarder:
    """Posts every event file of an attempt, oldest first, and goes on until it is told to stop.

    Consumes: whole lines of `events/a<attempt>-*.jsonl`, those of earlier lives included; the
    token is good for no other attempt's. Waits for: the control plane, with growing pauses.
    Unblocked by: a reply, or `drain`'s deadline. What stays unsent stays on disk, where the
    control plane finds it.
    """

    def __init__(self, folder: JobFolder, url: str, attempt: int, token: str) -> None:
        self._folder, self._url = folder, url
        self._files = f"a{attempt}-*.jsonl"
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, timeout=POST_TIMEOUT
        )
        self._sent: dict[tuple[Path, int], int] = {}
        """By path and inode: a file that was taken away and begun again is another."""
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def drain(self, seconds: float) -> bool:
        """Wait until everything on disk is sent. False when `seconds` did not suffice."""
        deadline = time.monotonic() + seconds
        # The first idle pass may have begun before the newest event was on disk, the next has not.
        for _ in range(2):
            self._idle.clear()
            if not self._idle.wait(timeout=max(0.0, deadline - time.monotonic())):
                return False
        return True

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=POST_TIMEOUT + 1)
        self._client.close()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                posted = self._pass()
                failures = 0
            except (httpx.HTTPError, OSError) as fault:
                log.warning("events wait: %s", fault)
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                self._stop.wait(pause)
                continue
            if not posted:
                self._idle.set()
                self._stop.wait(POLL_SECONDS)

    def _pass(self) -> bool:
        """Post one batch of each file that has news. Returns whether there was any."""
        posted = False
        for path in sorted(
            self._folder.events.glob(self._files), key=lambda p: p.stat().st_mtime_ns
        ):
            found = path.stat()
            offset = self._sent.get((path, found.st_ino), 0)
            if found.st_size <= offset:
                continue
            lines, end = whole_lines(path, offset)
            if not lines:
                continue
            self._post(path, readable(lines, path))
            self._sent[path, found.st_ino] = end
            posted = True
        return posted

    def _post(self, path: Path, events: list[object]) -> None:
        """Raises httpx.HTTPError when it should be tried again."""
        if not events:
            return
        reply = self._client.post(self._url, json={"events": events})
        if reply.status_code in REFUSED_FOR_GOOD:
            log.error("%d events of %s were refused: %s", len(events), path.name, reply.text)
        else:
            reply.raise_for_status()


def readable(lines: list[bytes], path: Path) -> list[object]:
    """The lines that are JSON; a line that the disk garbled must not hold up those behind it."""
    events: list[object] = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            log.error("%s has a line that is not JSON and is left out: %.80r", path, line)
    return events


def whole_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """At most BATCH complete lines from `offset`, and the offset behind them."""
    lines: list[bytes] = []
    with path.open("rb") as source:
        source.seek(offset)
        for line in source:
            if not line.endswith(b"\n") or len(lines) == BATCH:
                break
            lines.append(line)
            offset += len(line)
    return lines, offset
