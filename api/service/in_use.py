"""Whether somebody needs what is to be deleted."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.service.faults import Conflict
from api.store.queue_tables import DependencyRow
from api.store.tables import JobInputRow, JobRow, RegisteredModelRow
from rlhf_service.job import TERMINAL


async def require_unread(session: AsyncSession, job_id: str) -> None:
    """No other job that has yet to end reads what this one left. Raises Conflict."""
    readers = (
        select(JobRow.id)
        .join(JobInputRow, JobInputRow.job_id == JobRow.id)
        .where(JobInputRow.source == job_id, JobRow.id != job_id)
        .where(JobRow.status.not_in(sorted(TERMINAL)))
    )
    if (reader := await session.scalar(readers.limit(1))) is not None:
        raise Conflict(f"job {reader} reads its files; cancel that one or wait for its end")


async def require_unregistered(session: AsyncSession, root: Path) -> None:
    """No model is registered in a job's folder. Raises Conflict."""
    real = Path(os.path.realpath(root))
    for model in await session.scalars(select(RegisteredModelRow)):
        if real in Path(model.path).parents:
            raise Conflict(f"model {model.id!r} is registered in its folder; delete that one first")


async def require_unawaited(session: AsyncSession, job_id: str) -> None:
    """No job that has not ended waits for this one's success. Raises Conflict."""
    query = (
        select(JobRow.id)
        .join(DependencyRow, DependencyRow.job_id == JobRow.id)
        .where(DependencyRow.needs == job_id, JobRow.status.not_in(sorted(TERMINAL)))
    )
    if (waiting := await session.scalar(query.limit(1))) is not None:
        raise Conflict(f"job {waiting} is to run after it; cancel that one or wait for its end")
