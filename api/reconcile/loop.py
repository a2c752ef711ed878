"""The background loops of one replica. Any number of replicas may run them."""

from __future__ import annotations

import asyncio
import logging
import time

from api.observe.context import about
from api.observe.metrics import Instruments
from api.reconcile.garbage import Garbage
from api.reconcile.queue import JobQueue
from api.reconcile.sweep import Sweeper
from api.reconcile.visit import Visitor
from api.service.cluster import Cluster
from api.service.secret import owner_of
from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.jobs import holding_jobs

log = logging.getLogger("rlhf.reconcile")

AT_ONCE = 4
"""Jobs looked at side by side."""
SWEEP_EVERY = 15.0
"""Seconds between looks for what outlived its job."""


class Reconciler:
    """Consumes stored jobs; waits for the interval or for `signals.work`; each turn is bounded by
    the launcher's timeout.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        signals: Signals,
        settings: Settings,
        secret: bytes,
        garbage: Garbage,
        metrics: Instruments,
    ) -> None:
        self.database = database
        self.cluster = cluster
        self.signals = signals
        self.settings = settings
        self.garbage = garbage
        self.queue = JobQueue(database, cluster, signals, secret)
        self.visitor = Visitor(database, cluster, signals, settings, secret, metrics)
        self.metrics = metrics
        self.sweeper = Sweeper(database, cluster, settings, owner_of(secret))
        self.turned_at = time.monotonic()
        """When the last turn ended; readiness looks at it."""

    async def run(self) -> None:
        """Until cancelled."""
        swept_at = time.monotonic()
        while True:
            self.signals.work.clear()
            began, outcome = time.monotonic(), "failed"
            try:
                await self.turn()
                if time.monotonic() - swept_at > SWEEP_EVERY:
                    swept_at = time.monotonic()
                    await self.sweeper.sweep()
                    await self.garbage.collect()
                outcome = "done"
            except Exception:
                log.exception("this turn failed; the next may not")
            self.turned_at = time.monotonic()
            self.metrics.turns.labels(outcome).inc()
            self.metrics.turn_seconds.observe(self.turned_at - began)
            try:
                await asyncio.wait_for(self.signals.work.wait(), self.settings.reconcile_interval)
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """Start what can start, then look at everything that holds resources."""
        await self.queue.advance()
        async with self.database.read() as session:
            job_ids = [job.id for job in await holding_jobs(session)]
        room = asyncio.Semaphore(AT_ONCE)

        async def visit(job_id: str) -> None:
            async with room:
                with about(job_id):
                    await self.visitor.visit(job_id)

        async with asyncio.TaskGroup() as group:
            for job_id in job_ids:
                group.create_task(visit(job_id))
