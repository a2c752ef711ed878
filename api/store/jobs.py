"""Rows of jobs: find, lock, list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import AttemptRow, JobRow, LabelRow
from rlhf_service.job import HOLDING, JobStatus


async def find_job(session: AsyncSession, job_id: str) -> JobRow | None:
    """The job, as last committed, whoever's it is."""
    return await session.scalar(select(JobRow).where(JobRow.id == job_id))


async def lock_job(session: AsyncSession, job_id: str) -> JobRow | None:
    """The job, unchanged by anyone else until the transaction ends."""
    query = select(JobRow).where(JobRow.id == job_id).with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))


async def page_jobs(
    session: AsyncSession,
    tenant: str,
    *,
    before: int | None,
    limit: int,
    statuses: Sequence[str],
    labels: Mapping[str, str],
    search: str = "",
) -> list[JobRow]:
    """A tenant's, newest first: up to `limit` jobs accepted before job number `before`.

    `search` is a part of the name, or the beginning of the id.
    """
    query = select(JobRow).where(JobRow.tenant == tenant)
    query = query.order_by(JobRow.number.desc()).limit(limit)
    if before is not None:
        query = query.where(JobRow.number < before)
    if statuses:
        query = query.where(JobRow.status.in_(statuses))
    if search:
        named = JobRow.name.icontains(search, autoescape=True)
        query = query.where(named | JobRow.id.startswith(search, autoescape=True))
    for key, value in labels.items():
        query = query.where(
            exists().where(
                LabelRow.job_id == JobRow.id, LabelRow.key == key, LabelRow.value == value
            )
        )
    return list(await session.scalars(query))


async def queued_jobs(session: AsyncSession) -> list[JobRow]:
    """Jobs waiting for their turn, first come first."""
    query = select(JobRow).where(JobRow.status == JobStatus.QUEUED)
    return list(await session.scalars(query.order_by(JobRow.queued_at, JobRow.number)))


async def holding_jobs(session: AsyncSession) -> list[JobRow]:
    """Jobs that hold, or are about to hold, resources of the cluster."""
    query = select(JobRow).where(JobRow.status.in_(sorted(HOLDING)))
    return list(await session.scalars(query.order_by(JobRow.number)))


async def ended_before(session: AsyncSession, moment: datetime, limit: int = 100) -> list[str]:
    """Ids of jobs that became terminal before `moment` and whose log is longer than its end."""
    query = select(JobRow.id).where(JobRow.finished_at < moment, JobRow.first_seq < JobRow.last_seq)
    return list(await session.scalars(query.order_by(JobRow.finished_at).limit(limit)))


async def find_attempt(session: AsyncSession, job_id: str, number: int) -> AttemptRow | None:
    """One attempt of a job."""
    return await session.get(AttemptRow, (job_id, number), populate_existing=True)


async def list_attempts(session: AsyncSession, job_ids: Sequence[str]) -> list[AttemptRow]:
    """Attempts of those jobs, oldest first."""
    query = select(AttemptRow).where(AttemptRow.job_id.in_(job_ids))
    return list(await session.scalars(query.order_by(AttemptRow.job_id, AttemptRow.number)))
