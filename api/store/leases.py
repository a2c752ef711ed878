"""Who may work on a job now. A holder that lost its lease cannot write: its token is gone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.database import Database
from api.store.jobs import lock_job
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.errors import RlhfError


class LeaseLost(RlhfError):
    """Another replica took the job over; what this one learnt about it is stale."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job."""

    job_id: str
    token: str


async def take_lease(database: Database, job_id: str, seconds: float) -> Lease | None:
    """The lease, or None while another holder's has not run out."""
    lease = Lease(job_id, secrets.token_hex(16))
    moment = now()
    free = or_(JobRow.lease_token.is_(None), JobRow.lease_expires_at < moment)
    taken = (
        update(JobRow)
        .where(JobRow.id == job_id, free)
        .values(lease_token=lease.token, lease_expires_at=moment + timedelta(seconds=seconds))
        .returning(JobRow.id)
    )
    async with database.write() as session:
        return lease if await session.scalar(taken) else None


async def release_lease(database: Database, lease: Lease) -> None:
    """Let the next look begin at once. Nothing happens when the lease was lost."""
    mine = JobRow.id == lease.job_id, JobRow.lease_token == lease.token
    async with database.write() as session:
        await session.execute(
            update(JobRow).where(*mine).values(lease_token=None, lease_expires_at=None)
        )


async def lock_leased(session: AsyncSession, lease: Lease) -> JobRow:
    """The job, locked. Raises LeaseLost when the lease is another's now."""
    job = await lock_job(session, lease.job_id)
    if job is None or job.lease_token != lease.token:
        raise LeaseLost(f"{lease.job_id}: another replica took it over; nothing was written")
    return job
