"""Figures over all jobs, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.job import HOLDING, JobStatus


@dataclass(frozen=True, slots=True)
class Figures:
    """As of one moment."""

    by_status: dict[str, int]
    queued_since: datetime | None
    """When the oldest queued job was queued."""
    leases: int
    """Leases that have not run out."""


async def figures(session: AsyncSession) -> Figures:
    counted = await session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))
    by_status = {status: count for status, count in counted}
    oldest = select(func.min(JobRow.queued_at)).where(JobRow.status == JobStatus.QUEUED)
    # Only jobs that hold resources are leased; their status finds them.
    held = select(func.count()).where(
        JobRow.status.in_(sorted(HOLDING)), JobRow.lease_expires_at > now()
    )
    return Figures(by_status, await session.scalar(oldest), await session.scalar(held) or 0)
