"""Who of the queued jobs starts now."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from api.failpoints import Point, passing
from api.reconcile.attempts import open_attempt
from api.service.cluster import Cluster
from api.service.signals import Signals
from api.store.database import Database
from api.store.jobs import holding_jobs, lock_job, queued_jobs
from api.store.moves import move
from api.store.tables import JobRow
from rlhf_service.errors import LauncherError
from rlhf_service.job import JobStatus
from rlhf_service.launching import Capacity

EPSILON = 1e-6  # fractions of CPUs are added up in binary


class JobQueue:
    """Consumes queued jobs, first come first; waits for room; unblocked by jobs that end.

    Strictly in order, so a large job is not starved by small ones. A job that could not start on
    the empty cluster is passed over: it waits for a larger cluster and holds up nobody.
    """

    def __init__(
        self, database: Database, cluster: Cluster, signals: Signals, secret: bytes
    ) -> None:
        self.database = database
        self.cluster = cluster
        self.signals = signals
        self.secret = secret

    async def advance(self) -> list[str]:
        """Move every job that fits from queued to provisioning; returns their ids."""
        async with self.database.read() as session:
            if not await queued_jobs(session):
                return []
        try:
            capacity = await self.cluster.capacity()
        except LauncherError as fault:
            await self._note_all(f"waiting for the cluster: {fault}")
            return []
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            started = await self._admit(session, capacity)
            if started:
                passing(Point.ADMITTING)
        for job_id in started:
            passing(Point.ATTEMPT_OPENED)
            self.signals.notify(job_id)
        return started

    async def _admit(self, session: AsyncSession, capacity: Capacity) -> list[str]:
        holders, started = await holding_jobs(session), []
        blocked_by: str | None = None
        for waiting in await queued_jobs(session):
            job = await lock_job(session, waiting.id)
            if job is None or job.status != JobStatus.QUEUED:
                continue
            never = too_large(job, capacity)
            if never or blocked_by:
                job.message = never or f"waiting for its turn behind {blocked_by}"
                continue
            if lacking := shortage(job, holders, capacity):
                job.message, blocked_by = lacking, job.id
                continue
            await open_attempt(session, job, self.secret)
            await move(session, job, JobStatus.PROVISIONING, message="submitting to the cluster")
            holders.append(job)
            started.append(job.id)
        return started

    async def _note_all(self, message: str) -> None:
        async with self.database.write() as session:
            for waiting in await queued_jobs(session):
                job = await lock_job(session, waiting.id)
                if job is not None and job.status == JobStatus.QUEUED:
                    job.message = message


def too_large(job: JobRow, capacity: Capacity) -> str:
    """Why the job cannot start even alone; empty when it can."""
    for noun, needs, has in (
        ("CPUs", job.cpus, capacity.cpus),
        ("GPUs", job.gpus, capacity.gpus),
    ):
        if needs > has + EPSILON:
            return f"waiting for a larger cluster: needs {needs:g} {noun}, it has {has:g}"
    return ""


def shortage(job: JobRow, holders: Sequence[JobRow], capacity: Capacity) -> str:
    """What the job waits for; empty when there is room."""
    for noun, needs, free in (
        ("CPUs", job.cpus, capacity.cpus - sum(other.cpus for other in holders)),
        ("GPUs", job.gpus, capacity.gpus - sum(other.gpus for other in holders)),
    ):
        if needs > free + EPSILON:
            names = ", ".join(other.id for other in holders)
            return f"waiting for {needs:g} {noun}; {max(free, 0.0):g} free; held by {names}"
    return ""
