"""Deleting jobs that ended."""

from __future__ import annotations

from sqlalchemy import delete

from api.openai.objects import Deleted
from api.service.caller import Caller
from api.service.faults import Conflict
from api.service.in_use import require_unawaited, require_unread, require_unregistered
from api.service.models import has_model
from api.service.owned import own_job
from api.settings import Settings
from api.store.base import Base
from api.store.database import Database
from api.store.tables import (
    GarbageRow,
    IdempotencyRow,
    JobRow,
)
from api.store.types import now
from rlhf_service.job import JobStatus


class Deletion:
    """What `DELETE /v1/jobs/{id}` calls."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def delete(self, caller: Caller, job_id: str) -> Deleted:
        """The job and its log are gone at once, its files soon after. Raises Conflict while
        something needs them.
        """
        root = self.settings.folder(job_id).root
        async with self.database.write() as session:
            job = await own_job(session, caller, job_id, lock=True)
            status = JobStatus(job.status)
            if not status.is_terminal:
                raise Conflict(f"the job is {status}; cancel it first")
            if has_model(job):
                raise Conflict(f"its model is kept; DELETE /v1/models/{job_id} first")
            await require_unread(session, job_id)
            await require_unawaited(session, job_id)
            await require_unregistered(session, root)
            for table in reversed(Base.metadata.sorted_tables):
                for column in table.columns:
                    if any(key.column is JobRow.__table__.c.id for key in column.foreign_keys):
                        await session.execute(delete(table).where(column == job_id))
            await session.execute(delete(IdempotencyRow).where(IdempotencyRow.job_id == job_id))
            await session.delete(job)
            session.add(GarbageRow(path=str(root), created_at=now()))
        return Deleted(id=job_id, object="job")
