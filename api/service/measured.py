"""What a job took, kept beside its plan."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from api.store.events import events_of_type, stored_event
from api.store.tables import PlanRow
from rlhf_service.planning.actual import Actual, actual_of


async def keep_actual(session: AsyncSession, job_id: str) -> None:
    """Store it with the job's plan, if there is one."""
    row = await session.get(PlanRow, job_id)
    if row is not None:
        await session.flush()
        row.actual = (await read_actual(session, job_id)).model_dump(mode="json")


async def read_actual(session: AsyncSession, job_id: str) -> Actual:
    """From the job's log."""
    rows = [
        *await events_of_type(session, job_id, "memory"),
        *await events_of_type(session, job_id, "step"),
    ]
    return actual_of(stored_event(row).event for row in rows)
