"""A job's report, made from its log whenever it is asked for."""

from __future__ import annotations

import asyncio

from api.service.caller import Caller
from api.service.owned import own_job
from api.store.database import Database
from api.store.events import events_after, stored_event
from rlhf_service.events import StoredEvent
from rlhf_service.report.collect import KINDS, JobReport, collect

PART = 1000
"""Events read at a time."""


class Reports:
    """What the routes under `/v1/jobs/{id}/report` call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, caller: Caller, job_id: str) -> JobReport:
        """Of a running job: what is known so far."""
        events: list[StoredEvent] = []
        async with self._database.read() as session:
            spec = (await own_job(session, caller, job_id)).spec
            while True:
                after = events[-1].seq if events else 0
                rows = await events_after(session, job_id, after, PART, KINDS)
                events += [stored_event(row) for row in rows]
                if len(rows) < PART:
                    break
        return await asyncio.to_thread(collect, job_id, spec, events)

    async def page(self, caller: Caller, job_id: str) -> str:
        """The report as HTML."""
        report = await self.get(caller, job_id)

        def draw() -> str:
            # Brings in matplotlib; paid for by the first who asks.
            from rlhf_service.report.page import page

            return page(report)

        return await asyncio.to_thread(draw)
