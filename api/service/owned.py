"""Finding what is the caller's. What is another tenant's is not found, as if it did not exist."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.service.caller import Caller
from api.service.faults import NotFound
from api.store.jobs import find_job, lock_job
from api.store.tables import JobRow


async def own_job(
    session: AsyncSession, caller: Caller, job_id: str, *, lock: bool = False
) -> JobRow:
    """The caller's job; with `lock`, unchanged by anyone else until the transaction ends.

    Raises NotFound.
    """
    found = await own_job_or_none(session, caller, job_id)
    if found is not None and lock:
        found = await lock_job(session, job_id)
    if found is None:
        raise NotFound(f"there is no job {job_id!r}")
    return found


async def own_job_or_none(session: AsyncSession, caller: Caller, job_id: str) -> JobRow | None:
    """The same for those who have words of their own for what is missing."""
    found = await find_job(session, job_id)
    return found if found is not None and found.tenant == caller.tenant else None


async def check_own(session: AsyncSession, caller: Caller, job_id: str) -> None:
    """Raises NotFound unless the job is the caller's; reads next to nothing."""
    if await session.scalar(select(JobRow.tenant).where(JobRow.id == job_id)) != caller.tenant:
        raise NotFound(f"there is no job {job_id!r}")
