"""Jobs: accepting them, reading them, and asking them to stop or go on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.failpoints import Point, passing
from api.schemas.base import Page
from api.schemas.jobs import JobView, LogsView
from api.service.admission import check_submission
from api.service.asked import Asked
from api.service.caller import Caller
from api.service.cluster import Cluster
from api.service.faults import (
    BadParameter,
    ClusterUnreachable,
    Conflict,
    IdempotencyConflict,
    NotFound,
)
from api.service.inputs import inputs_of
from api.service.job_rows import input_row, new_job
from api.service.logs import LogPart, log_view
from api.service.owned import own_job, own_job_or_none
from api.service.plans import plan_quietly, plan_row
from api.service.quotas import check_place
from api.service.signals import Signals
from api.service.territory import Territory
from api.service.views import job_view
from api.settings import Settings
from api.store.database import Database
from api.store.jobs import find_attempt, list_attempts, page_jobs
from api.store.moves import move
from api.store.quotas import quota_of
from api.store.requests import made_before, made_by_key, made_meanwhile, remember
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.errors import LauncherError
from rlhf_service.job import JobStatus, StopReason, can_move
from rlhf_service.spec import JobSpec

Beside = Callable[[AsyncSession, JobRow], Awaitable[None]]
"""What else is stored with a new job."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submitted job. `created` is False when the request had been made before."""

    job: JobView
    created: bool


class Jobs:
    """What the routes under `/v1/jobs` call. One transaction for each request."""

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        signals: Signals,
        territory: Territory,
        settings: Settings,
    ) -> None:
        self.database = database
        self.cluster = cluster
        self.signals = signals
        self.territory = territory
        self.settings = settings

    async def submit(
        self, asked: Asked, spec: JobSpec, *, body: str = "", beside: Beside | None = None
    ) -> Accepted:
        """Check and queue a job. Raises UserError when it could not run, and stores nothing.

        `body` is the digest of the request when that is not the spec itself. `beside` adds rows of
        its own in the job's transaction.
        """
        arrived, caller, key = now(), asked.caller, asked.idempotency_key
        body = body or hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
        if (job_id := await self.earlier(asked, body)) is not None:
            return Accepted(await self.get(caller, job_id), created=False)
        await self.territory.check(caller, spec)
        note = await check_submission(spec, self.settings.roots, self.cluster)
        inputs = await asyncio.to_thread(inputs_of, spec, self.settings)
        planned = await asyncio.to_thread(plan_quietly, spec, self.settings)
        try:
            async with self.database.write() as session:
                await self.database.serialize(session, f"{caller.id} {body}")
                twin = await self._twin(session, asked, body, arrived)
                if twin is None:
                    job = await new_job(session, self.database, caller, spec, note)
                    remember(session, job, caller.id, body, key=key, resent=asked.resent)
                    session.add_all(input_row(job, found) for found in inputs)
                    if planned is not None:
                        session.add(plan_row(job, planned))
                    await session.flush()
                    if beside is not None:
                        await beside(session, job)
        except IntegrityError:
            # The same key was committed in between; that request's job is the answer to both.
            if (twin := await self.earlier(asked, body)) is None:
                raise
        if twin is not None:
            return Accepted(await self.get(caller, twin), created=False)
        passing(Point.JOB_STORED)
        self.signals.work.set()
        return Accepted(job_view(job, []), created=True)

    async def get(self, caller: Caller, job_id: str) -> JobView:
        async with self.database.read() as session:
            job = await own_job(session, caller, job_id)
            return job_view(job, await list_attempts(session, [job_id]))

    async def page(
        self,
        caller: Caller,
        after: str | None,
        limit: int,
        statuses: Sequence[JobStatus],
        labels: Mapping[str, str],
        search: str,
    ) -> Page[JobView]:
        """Newest first."""
        async with self.database.read() as session:
            cursor = None if after is None else await own_job_or_none(session, caller, after)
            if after is not None and cursor is None:
                raise BadParameter(f"there is no job {after!r} to list after", "after")
            jobs = await page_jobs(
                session,
                caller.tenant,
                before=None if cursor is None else cursor.number,
                limit=limit + 1,
                statuses=statuses,
                labels=labels,
                search=search,
            )
            attempts = await list_attempts(session, [job.id for job in jobs])
        return Page[JobView].of(
            [job_view(job, attempts) for job in jobs], limit, lambda job: job.id
        )

    async def cancel(self, caller: Caller, job_id: str) -> JobView:
        """Ask it to stop for good. Asking again changes nothing."""
        async with self.database.write() as session:
            job = await own_job(session, caller, job_id, lock=True)
            status = JobStatus(job.status)
            if status in (JobStatus.CANCELLING, JobStatus.CANCELLED):
                pass
            elif status.is_terminal:
                raise Conflict(f"the job has {status}; there is nothing to cancel")
            elif status.holds_resources:
                await move(session, job, JobStatus.CANCELLING, message="asked to stop")
            else:
                await move(session, job, JobStatus.CANCELLED, reason=StopReason.CANCELLED_BY_USER)
        return await self._changed(caller, job_id)

    async def pause(self, caller: Caller, job_id: str) -> JobView:
        """Ask it to checkpoint and let go of the cluster. Asking again changes nothing."""
        async with self.database.write() as session:
            job = await own_job(session, caller, job_id, lock=True)
            status = JobStatus(job.status)
            if status in (JobStatus.PAUSING, JobStatus.PAUSED):
                job.preempted_by = None  # it stays paused now
            elif can_move(status, JobStatus.PAUSED):
                await move(session, job, JobStatus.PAUSED)
            elif can_move(status, JobStatus.PAUSING):
                await move(session, job, JobStatus.PAUSING, message="asked to checkpoint and stop")
            else:
                raise Conflict(f"the job is {status}; it cannot be paused")
        return await self._changed(caller, job_id)

    async def resume(self, caller: Caller, job_id: str) -> JobView:
        """Queue a paused job again. A job that already goes on stays as it is. Raises QuotaExceeded."""
        async with self.database.write() as session:
            # Before the job's row, in the order of those who start jobs.
            await self.database.serialize_queue(session)
            job = await own_job(session, caller, job_id, lock=True)
            status = JobStatus(job.status)
            if status is JobStatus.PAUSED:
                await check_place(session, job.tenant, await quota_of(session, job.tenant))
                await move(session, job, JobStatus.QUEUED, message="resumed")
            elif status is JobStatus.PAUSING and job.preempted_by is None:
                raise Conflict("the job is still pausing; resume it once it is paused")
            elif status.is_terminal or status is JobStatus.CANCELLING:
                raise Conflict(f"the job is {status}; it cannot be resumed")
        return await self._changed(caller, job_id)

    async def logs(
        self, caller: Caller, job_id: str, number: int | None, part: LogPart
    ) -> LogsView:
        """What the driver of an attempt printed; the newest attempt's when `number` is None."""
        async with self.database.read() as session:
            job = await own_job(session, caller, job_id)
            attempt = await find_attempt(session, job_id, number or job.attempt)
        if attempt is None:
            if number is not None:
                raise NotFound(f"job {job_id} has no attempt {number}", "attempt")
            ended = JobStatus(job.status).is_terminal
            return log_view(job_id, 0, "", part, ended=ended)
        try:
            text = await self.cluster.logs(attempt.submission_id)
        except LauncherError as fault:
            raise ClusterUnreachable(f"the cluster does not give the log: {fault}") from fault
        return log_view(job_id, attempt.number, text, part, ended=attempt.ended_at is not None)

    async def earlier(self, asked: Asked, body: str) -> str | None:
        """The job that this request made before. Raises IdempotencyConflict."""
        caller, key = asked.caller, asked.idempotency_key
        async with self.database.read() as session:
            if key is None:
                return await made_before(session, caller.id, body) if asked.resent else None
            row = await made_by_key(session, caller.tenant, key)
        if row is not None and row.body_sha256 != body:
            raise IdempotencyConflict(
                f"Idempotency-Key {key!r} was used for another body (job {row.job_id}); "
                "use a new key for a new job",
                "Idempotency-Key",
            )
        return None if row is None else row.job_id

    async def _twin(
        self, session: AsyncSession, asked: Asked, body: str, arrived: datetime
    ) -> str | None:
        """The job that another sending of this request made while this one was being checked."""
        if asked.idempotency_key is not None:
            return None  # the key's row tells
        if asked.resent:
            return await made_before(session, asked.caller.id, body)
        return await made_meanwhile(session, asked.caller.id, body, arrived)

    async def _changed(self, caller: Caller, job_id: str) -> JobView:
        passing(Point.REQUEST_STORED)
        self.signals.notify(job_id)
        self.signals.work.set()
        return await self.get(caller, job_id)
