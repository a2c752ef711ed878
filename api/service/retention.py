"""Drops the logs of jobs that ended long ago."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from api.settings import Settings
from api.store.database import Database
from api.store.events import drop_before
from api.store.jobs import ended_before, lock_job
from api.store.types import now

log = logging.getLogger("rlhf.events")

EVERY = 600.0
"""Seconds between two looks."""
AT_ONCE = 5000
"""Entries dropped in one transaction, so that writers do not wait long."""


class Retention:
    """Consumes jobs that ended before `event_days`; waits for its next look. Any number of replicas
    may run it.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                while await self.prune():
                    pass
            except Exception:
                log.exception("old events could not be dropped; tried again in %g s", EVERY)
            await asyncio.sleep(EVERY)

    async def prune(self) -> int:
        """Shorten some logs to their last entry. Returns how many entries went."""
        moment = now() - timedelta(days=self._settings.event_days)
        async with self._database.read() as session:
            found = await ended_before(session, moment)
        dropped = 0
        for job_id in found:
            dropped += await self._shorten(job_id)
        return dropped

    async def _shorten(self, job_id: str) -> int:
        dropped = 0
        while True:
            async with self._database.write() as session:
                job = await lock_job(session, job_id)
                if job is None or job.first_seq >= job.last_seq:
                    return dropped
                first = min(job.first_seq + AT_ONCE, job.last_seq)
                dropped += first - job.first_seq
                await drop_before(session, job, first)
