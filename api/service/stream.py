"""A job's log as a live stream that a client can leave and rejoin without gap or repeat."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from time import monotonic

from api.service.caller import Caller
from api.service.faults import Busy
from api.service.owned import check_own
from api.service.signals import Signals
from api.service.tail import Tails
from api.settings import Settings
from api.store.database import Database
from api.store.events import Entry


class Streams:
    """Consumes the tails of logs; waits for a tail's change, the heartbeat, or the end of the
    stream's lifetime; unblocked by all of them and by `close`.
    """

    def __init__(self, database: Database, signals: Signals, settings: Settings) -> None:
        self.settings = settings
        self.tails = Tails(database, signals, settings)
        self.open = 0
        """Streams open now."""
        self.closing = False

    def close(self) -> None:
        """Ask every client to reconnect, which then finds another replica or this one's successor."""
        self.closing = True
        self.tails.wake_all()

    async def admit(self, caller: Caller, job_id: str) -> None:
        """Raises NotFound for a job that is not the caller's; Busy when there are as many streams as
        this replica takes.
        """
        async with self.tails.database.read() as session:
            await check_own(session, caller, job_id)
        if self.open >= self.settings.sse_streams:
            raise Busy(f"{self.open} streams are open, the most this server takes; try again later")

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[bytes]:
        """Every entry with seq > `after`, then what comes; ends with `end` or `reconnect`."""
        # Streams that began together must not end together.
        ends = monotonic() + self.settings.sse_lifetime * random.uniform(0.9, 1.0)
        spoke, checked = monotonic(), False
        tail = self.tails.join(job_id)
        self.open += 1
        try:
            while True:
                changed = tail.changed
                if not checked and tail.known:
                    checked, first = True, tail.first
                    if after > tail.last or after < first - 1:
                        yield frame("reset", {"first": first, "last": tail.last})
                        after = first - 1
                entries = tail.after(after) if checked else []
                if entries is None:
                    entries = await self.tails.history(job_id, after)
                    if entries and entries[0].seq > after + 1:  # dropped meanwhile
                        yield frame("reset", {"first": entries[0].seq, "last": tail.last})
                if entries:
                    yield b"".join(map(event_frame, entries))
                    after, spoke = entries[-1].seq, monotonic()
                    continue
                if tail.over:
                    yield frame("end", {"status": tail.extent.status if tail.extent else None})
                    return
                if self.closing or monotonic() > ends:
                    yield frame("reconnect", {"after": after})
                    return
                beat = spoke + self.settings.sse_heartbeat
                if not await happens(changed, min(beat, ends)) and monotonic() >= beat:
                    yield b": still here\n\n"
                    spoke = monotonic()
        finally:
            self.open -= 1
            self.tails.leave(job_id, tail)


def event_frame(entry: Entry) -> bytes:
    """An entry of the log as a server-sent event."""
    return b"event: %b\ndata: %b\nid: %d\n\n" % (entry.type.encode(), entry.json, entry.seq)


def frame(event: str, data: dict[str, object]) -> bytes:
    """A word of the stream's own, which moves no cursor."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


async def happens(event: asyncio.Event, until: float) -> bool:
    """Whether it was set before that moment of the monotonic clock."""
    try:
        async with asyncio.timeout(until - monotonic()):
            await event.wait()
    except TimeoutError:
        return False
    return True
