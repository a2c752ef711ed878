"""The newest part of a job's log in memory, read once for all who follow the job."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.events import Entry, Extent, entries_after, extents

log = logging.getLogger("rlhf.events")

BATCH = 500
"""Entries read at once."""
KEPT = 500
"""Entries kept; who is further behind reads the store."""
KEPT_BYTES = 4 * 2**20
AT_ONCE = 4
"""Reads of the store side by side, so that streams leave connections to requests."""
RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Tail:
    """What is known of one followed job."""

    entries: deque[Entry] = field(default_factory=deque)
    """Consecutive; the newest last."""
    size: int = 0
    """Bytes in `entries`."""
    last: int = -1
    """Newest seq read; -1 before the first look."""
    extent: Extent | None = None
    """As of the last look; None when there is no such job."""
    followers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the next change; take it before looking, then wait on it."""
    keeper: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether the store was looked into."""
        return self.last >= 0

    @property
    def first(self) -> int:
        """Oldest seq that the store has."""
        return self.extent.first if self.extent else 1

    @property
    def over(self) -> bool:
        """Whether everything is told that will ever be."""
        return self.known and (self.extent is None or self.extent.status.is_terminal)

    def after(self, seq: int) -> list[Entry] | None:
        """The entries behind `seq`; None when they begin before what is kept."""
        if seq >= self.last:
            return []
        begin = self.last - len(self.entries)  # seq before the first kept
        if seq < begin:
            return None
        return [self.entries[i] for i in range(seq - begin, len(self.entries))]

    def add(self, found: list[Entry]) -> None:
        for entry in found:
            self.entries.append(entry)
            self.size += len(entry.json)
        while len(self.entries) > KEPT or (self.size > KEPT_BYTES and len(self.entries) > 1):
            self.size -= len(self.entries.popleft().json)

    def wake(self) -> None:
        """Let every follower look again."""
        before, self.changed = self.changed, asyncio.Event()
        before.set()


class Tails:
    """Consumes the logs of followed jobs; waits for their signals and, for what nobody told, the
    poll, which is one query for all jobs. One reader a job, however many follow it.
    """

    def __init__(self, database: Database, signals: Signals, settings: Settings) -> None:
        self.database, self.signals, self.settings = database, signals, settings
        self.reads = 0
        """Looks into the store so far."""
        self._tails: dict[str, Tail] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    @property
    def followed(self) -> int:
        """Jobs that somebody follows."""
        return len(self._tails)

    def join(self, job_id: str) -> Tail:
        """The job's tail, kept up to date until `leave`."""
        tail = self._tails.get(job_id)
        if tail is None:
            tail = self._tails[job_id] = Tail()
            tail.keeper = asyncio.create_task(self._keep(job_id, tail))
        tail.followers += 1
        return tail

    def leave(self, job_id: str, tail: Tail) -> None:
        """The last to leave stops the reading."""
        tail.followers -= 1
        if not tail.followers and tail.keeper is not None:
            tail.keeper.cancel()
            del self._tails[job_id]

    async def history(self, job_id: str, after: int) -> list[Entry]:
        """Up to BATCH entries behind `after`, from the store."""
        async with self._room, self.database.read() as session:
            self.reads += 1
            return await entries_after(session, job_id, after, BATCH)

    def wake_all(self) -> None:
        for tail in self._tails.values():
            tail.wake()

    async def poll(self) -> None:
        """Until cancelled: ring for jobs that moved without a word."""
        while True:
            await asyncio.sleep(self.settings.sse_poll)
            seen = {job: tail.extent for job, tail in self._tails.items() if tail.extent}
            try:
                async with self.database.read() as session:
                    found = await extents(session, list(seen)) if seen else {}
            except Exception as fault:
                log.warning("looking for other replicas' events failed: %s", fault)
                continue
            for job, extent in seen.items():
                if found.get(job) != extent:
                    self.signals.notify(job)

    async def _keep(self, job_id: str, tail: Tail) -> None:
        with self.signals.listen(job_id) as bell:
            while not tail.over:
                bell.clear()
                try:
                    await self._look(job_id, tail)
                except Exception as fault:
                    log.warning("%s: its log cannot be read now: %s", job_id, fault)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(bell.wait(), RETRY_SECONDS)
                    continue
                if not tail.over:
                    await bell.wait()

    async def _look(self, job_id: str, tail: Tail) -> None:
        """Take in what is new, and let the followers see it at once."""
        while True:
            async with self._room, self.database.read() as session:
                self.reads += 1
                # The job before its events: terminal and nothing new means all is said.
                extent = (await extents(session, [job_id])).get(job_id)
                last = tail.last
                if last < 0:
                    last = 0 if extent is None else max(extent.first - 1, extent.last - KEPT)
                found = [] if extent is None else await entries_after(session, job_id, last, BATCH)
            tail.last = found[-1].seq if found else last
            tail.add(found)
            # After the last news of an ended job it looks once more: nothing new is what ends it.
            ended = extent is not None and extent.status.is_terminal
            if found and (ended or len(found) == BATCH):
                continue
            tail.extent = extent
            tail.wake()
            return
