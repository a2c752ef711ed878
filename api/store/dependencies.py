"""Which jobs a job waits for. They exist before it does, so nothing can wait in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.queue_tables import DependencyRow
from api.store.tables import JobRow
from rlhf_service.job import JobStatus


@dataclass(frozen=True, slots=True)
class Needed:
    """A job that another one waits for."""

    id: str
    status: JobStatus

    @property
    def met(self) -> bool:
        return self.status is JobStatus.SUCCEEDED

    @property
    def hopeless(self) -> bool:
        return self.status.is_terminal and not self.met


async def needs_of(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, list[Needed]]:
    """Job → the jobs it waits for, those that succeeded left out."""
    query = (
        select(DependencyRow.job_id, JobRow.id, JobRow.status)
        .join(JobRow, JobRow.id == DependencyRow.needs)
        .where(DependencyRow.job_id.in_(job_ids), JobRow.status != JobStatus.SUCCEEDED)
        .order_by(JobRow.number)
    )
    found: dict[str, list[Needed]] = {}
    for job_id, needed, status in await session.execute(query):
        found.setdefault(job_id, []).append(Needed(needed, JobStatus(status)))
    return found
