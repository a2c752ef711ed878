"""The only place where a job's status changes."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from api.store.events import append_own
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.errors import RlhfError
from rlhf_service.events import StatusChanged
from rlhf_service.job import JobStatus, StopReason, can_move


class IllegalMove(RlhfError):
    """The table of transitions does not allow it."""


async def move(
    session: AsyncSession,
    job: JobRow,
    to: JobStatus,
    *,
    reason: StopReason | None = None,
    message: str = "",
) -> None:
    """Take a locked job to another status and say so in its log, in the same transaction.

    The write carries `WHERE version = <the one read>` and raises the version: of two writers that
    read the same row one fails (StaleDataError), also where a database has no row locks.
    """
    before = JobStatus(job.status)
    if not can_move(before, to):
        raise IllegalMove(f"{job.id} is {before}; it cannot become {to}")
    if to.is_terminal and (reason is None or reason.to_status() is not to):
        raise IllegalMove(f"{job.id}: {to} needs a reason that leads to it, not {reason}")
    moment = now()
    job.status, job.reason, job.message = to, reason, message
    job.version += 1
    job.updated_at = moment
    if to is JobStatus.QUEUED:
        job.queued_at = moment
    if to is JobStatus.RUNNING and job.started_at is None:
        job.started_at = moment
    if to in (JobStatus.CANCELLING, JobStatus.PAUSING):
        job.stop_requested_at = moment
    if to.is_terminal:
        job.finished_at = moment
    await session.flush()  # fails here, before anything is logged, when the row was stale
    await append_own(session, job, StatusChanged(status=to, reason=reason, message=message))
    await session.flush()


async def open_job(session: AsyncSession, job: JobRow) -> None:
    """Log the status that a new job starts with."""
    await append_own(session, job, StatusChanged(status=JobStatus(job.status)))
    await session.flush()
