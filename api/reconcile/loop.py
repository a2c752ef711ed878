"""The background loops of one replica. Any number of replicas may run them."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from api.observe.context import about
from api.observe.metrics import Instruments
from api.reconcile.garbage import Garbage
from api.reconcile.queue import JobQueue
from api.reconcile.visit import Visitor
from api.service.cluster import Cluster
from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.jobs import ended_since, holding_jobs
from api.store.types import now
from rlhf_service.errors import LauncherError
from rlhf_service.launching import LaunchState, submission_id

log = logging.getLogger("rlhf.reconcile")

AT_ONCE = 4
"""Jobs looked at side by side."""
SWEEP_EVERY = 15.0
"""Seconds between looks for drivers that outlived their job."""
SWEEP_BACK = timedelta(minutes=15)
"""How long after a job's end its driver is looked for."""


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
                    await self.sweep()
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

    async def sweep(self) -> None:
        """Stop drivers of jobs that ended: a submit that was thought lost may have arrived late."""
        async with self.database.read() as session:
            ended = await ended_since(session, now() - SWEEP_BACK)
        try:
            for job in ended:
                name = submission_id(job.id, job.attempt)
                state = await self.cluster.state(name)
                if state in (LaunchState.PENDING, LaunchState.RUNNING):
                    log.warning("%s has ended but %s still runs; stopping it", job.id, name)
                    await self.cluster.stop(name)
        except LauncherError as fault:
            log.warning("sweep: %s", fault)
