"""Rows of registered models, and of what jobs read."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import JobInputRow, JobRow, RegisteredModelRow


async def find_registered(
    session: AsyncSession, tenant: str, model_id: str
) -> RegisteredModelRow | None:
    query = select(RegisteredModelRow).where(
        RegisteredModelRow.tenant == tenant, RegisteredModelRow.id == model_id
    )
    return await session.scalar(query)


async def list_registered(session: AsyncSession, tenant: str) -> Sequence[RegisteredModelRow]:
    """A tenant's, newest first."""
    query = select(RegisteredModelRow).where(RegisteredModelRow.tenant == tenant)
    return list(await session.scalars(query.order_by(RegisteredModelRow.number.desc())))


async def inputs_of_job(session: AsyncSession, job_id: str) -> Sequence[JobInputRow]:
    query = select(JobInputRow).where(JobInputRow.job_id == job_id)
    return list(await session.scalars(query.order_by(JobInputRow.field)))


async def descendants(session: AsyncSession, tenant: str, job_id: str) -> Sequence[str]:
    """Jobs that read what a job left, or were made from it; oldest first."""
    reads = select(JobInputRow.job_id).where(JobInputRow.source == job_id)
    made = JobRow.id.in_(reads) | (JobRow.parent_id == job_id)
    query = select(JobRow.id).where(JobRow.tenant == tenant, JobRow.id != job_id, made)
    return list(await session.scalars(query.order_by(JobRow.number).limit(1000)))
