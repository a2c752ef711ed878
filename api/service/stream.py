"""A job's log as a live stream that a client can leave and rejoin without gap or repeat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

from api.service.caller import Caller
from api.service.owned import own_job_or_none
from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.events import events_after, first_seq, stored_event
from rlhf_service.job import JobStatus

BATCH = 500
"""Events read at once."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; `event` is empty for a comment."""

    event: str
    data: str
    id: int | None = None


class Streams:
    """Consumes the log; waits for its job's signal, another replica's write, or the end of its
    lifetime; unblocked by `Signals.notify`, the poll and the heartbeat.
    """

    def __init__(self, database: Database, signals: Signals, settings: Settings) -> None:
        self.database = database
        self.signals = signals
        self.settings = settings

    async def follow(self, caller: Caller, job_id: str, after: int) -> AsyncIterator[Frame]:
        """Every entry with seq > `after`, then what comes; ends with `end` or `reconnect`."""
        begun = spoke = monotonic()
        with self.signals.listen(job_id) as bell:
            async with self.database.read() as session:
                job = await own_job_or_none(session, caller, job_id)
                first, last = await first_seq(session, job_id), job.last_seq if job else 0
            if after > last or after < first - 1:
                yield Frame("reset", json.dumps({"first": first, "last": last}))
                after = first - 1
            while True:
                bell.clear()
                async with self.database.read() as session:
                    job = await own_job_or_none(session, caller, job_id)
                    rows = await events_after(session, job_id, after, BATCH)
                for row in rows:
                    yield Frame(row.type, stored_event(row).model_dump_json(), row.seq)
                    after, spoke = row.seq, monotonic()
                # The job was read before its events: terminal and nothing new means all is said.
                if not rows and (job is None or JobStatus(job.status).is_terminal):
                    yield Frame("end", json.dumps({"status": job.status if job else None}))
                    return
                if monotonic() - begun > self.settings.sse_lifetime:
                    yield Frame("reconnect", json.dumps({"after": after}))
                    return
                if not rows and not await rings(bell, self.settings.sse_poll):
                    if monotonic() - spoke > self.settings.sse_heartbeat:
                        yield Frame("", "still here")
                        spoke = monotonic()


async def rings(bell: asyncio.Event, seconds: float) -> bool:
    """Whether the bell rang within that time."""
    try:
        await asyncio.wait_for(bell.wait(), seconds)
    except TimeoutError:
        return False
    return True
