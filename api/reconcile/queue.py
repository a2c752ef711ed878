"""The queue: what the policy decides, carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.failpoints import Point, passing
from api.reconcile.attempts import open_attempt
from api.reconcile.policy import Decisions, Running, Waiting, decide
from api.service.cluster import Cluster
from api.service.signals import Signals
from api.store.database import Database
from api.store.dependencies import Needed, needs_of
from api.store.jobs import holding_jobs, lock_job, queued_jobs
from api.store.moves import move
from api.store.quotas import quotas_of
from api.store.tables import AttemptRow, JobRow
from api.store.types import now
from rlhf_service.errors import LauncherError
from rlhf_service.job import JobStatus, StopReason, can_move
from rlhf_service.launching import Capacity

STARTS_REMEMBERED = timedelta(days=7)
"""How far back a tenant's last start is looked for."""


class JobQueue:
    """Consumes queued jobs in the policy's order; waits for room; unblocked by jobs that end, or
    that are asked to make room. One replica decides at a time.
    """

    def __init__(
        self, database: Database, cluster: Cluster, signals: Signals, secret: bytes
    ) -> None:
        self.database = database
        self.cluster = cluster
        self.signals = signals
        self.secret = secret

    async def advance(self) -> list[str]:
        """Move every job whose turn it is from queued to provisioning; returns their ids."""
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
            failed = await self._fail_hopeless(session)
            decisions = await self._decide(session, capacity)
            started = await self._start(session, decisions.starts)
            asked = await self._preempt(session, decisions.preempts)
            await self._explain(session, decisions.reasons)
            if started:
                passing(Point.ADMITTING)
        for job_id in (*failed, *started, *asked):
            passing(Point.ATTEMPT_OPENED)
            self.signals.notify(job_id)
        if asked or failed:
            self.signals.work.set()  # what waits for those that failed fails next
        return started

    async def _decide(self, session: AsyncSession, capacity: Capacity) -> Decisions:
        queued, holders = await queued_jobs(session), await holding_jobs(session)
        needs = await needs_of(session, [job.id for job in queued])
        return decide(
            [as_waiting(job, needs.get(job.id, ())) for job in queued],
            [as_running(job) for job in holders],
            capacity,
            await quotas_of(session, {job.tenant for job in queued}),
            await last_starts(session),
            now().timestamp(),
        )

    async def _start(self, session: AsyncSession, job_ids: Sequence[str]) -> list[str]:
        started = []
        for job_id in job_ids:
            job = await lock_job(session, job_id)
            if job is None or job.status != JobStatus.QUEUED:
                continue
            await open_attempt(session, job, self.secret)
            await move(session, job, JobStatus.PROVISIONING, message="submitting to the cluster")
            started.append(job.id)
        return started

    async def _preempt(self, session: AsyncSession, preempts: Mapping[str, str]) -> list[str]:
        """Ask for a checkpoint and the room. The job comes back to the queue by itself."""
        asked = []
        for job_id, winner in preempts.items():
            job = await lock_job(session, job_id)
            if job is None or not can_move(JobStatus(job.status), JobStatus.PAUSING):
                continue
            job.preempted_by = winner
            message = f"makes room for {winner}, which has a higher priority"
            await move(session, job, JobStatus.PAUSING, message=message)
            asked.append(job.id)
        return asked

    async def _explain(self, session: AsyncSession, reasons: Mapping[str, str]) -> None:
        for waiting in await queued_jobs(session):
            reason = reasons.get(waiting.id)
            if reason is None or reason == waiting.message:
                continue
            job = await lock_job(session, waiting.id)
            if job is not None and job.status == JobStatus.QUEUED:
                job.message = reason

    async def _fail_hopeless(self, session: AsyncSession) -> list[str]:
        """End the jobs that wait for one that did not succeed."""
        failed = []
        needs = await needs_of(session, [job.id for job in await queued_jobs(session)])
        for job_id, needed in needs.items():
            ended = [f"{o.id}, which is {o.status}" for o in needed if o.hopeless]
            job = await lock_job(session, job_id) if ended else None
            if job is not None and job.status == JobStatus.QUEUED:
                reason = StopReason.DEPENDENCY_FAILED
                message = f"it was to run after {' and '.join(ended)}"
                await move(session, job, JobStatus.FAILED, reason=reason, message=message)
                failed.append(job_id)
        return failed

    async def _note_all(self, message: str) -> None:
        async with self.database.write() as session:
            waiting = await queued_jobs(session)
            await self._explain(session, {job.id: message for job in waiting})


async def last_starts(session: AsyncSession) -> dict[str, float]:
    """Tenant → when it last started a job, as far as that is remembered."""
    query = (
        select(JobRow.tenant, func.max(AttemptRow.created_at))
        .join(AttemptRow, AttemptRow.job_id == JobRow.id)
        .where(AttemptRow.created_at > now() - STARTS_REMEMBERED)
        .group_by(JobRow.tenant)
    )
    return {tenant: moment.timestamp() for tenant, moment in await session.execute(query)}


def as_waiting(job: JobRow, needs: Sequence[Needed]) -> Waiting:
    return Waiting(
        id=job.id,
        tenant=job.tenant,
        priority=job.priority,
        cpus=job.cpus,
        gpus=job.gpus,
        since=(job.queued_at or job.created_at).timestamp(),
        needs=tuple(f"{other.id} ({other.status})" for other in needs),
    )


def as_running(job: JobRow) -> Running:
    stopping = job.status in (JobStatus.PAUSING, JobStatus.CANCELLING)
    return Running(
        id=job.id,
        tenant=job.tenant,
        priority=job.priority,
        cpus=job.cpus,
        gpus=job.gpus,
        preemptible=job.preemptible and can_move(JobStatus(job.status), JobStatus.PAUSING),
        stopping=stopping,
    )
