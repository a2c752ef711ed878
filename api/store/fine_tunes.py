"""Rows of fine-tuning requests, and of the models that jobs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from api.store.events import stored_event
from api.store.tables import EventRow, FineTuneRow, JobRow, LabelRow
from rlhf_service.events import StepCompleted
from rlhf_service.job import JobStatus
from rlhf_service.reports import StepReport

Tuned = tuple[JobRow, FineTuneRow]


def tuned() -> Select[JobRow, FineTuneRow]:
    return select(JobRow, FineTuneRow).join(FineTuneRow, FineTuneRow.job_id == JobRow.id)


async def find_fine_tune(session: AsyncSession, tenant: str, job_id: str) -> Tuned | None:
    """The tenant's job with its request."""
    query = tuned().where(JobRow.id == job_id, JobRow.tenant == tenant)
    row = (await session.execute(query)).first()
    return None if row is None else (row[0], row[1])


async def page_fine_tunes(
    session: AsyncSession,
    tenant: str,
    *,
    before: int | None,
    limit: int,
    metadata: Mapping[str, str] | None,
) -> list[Tuned]:
    """A tenant's, newest first: up to `limit` accepted before job number `before`. Metadata None:
    those that have none.
    """
    query = tuned().where(JobRow.tenant == tenant)
    query = query.order_by(JobRow.number.desc()).limit(limit)
    if before is not None:
        query = query.where(JobRow.number < before)
    label = LabelRow.job_id == JobRow.id
    if metadata is None:
        query = query.where(~exists().where(label))
    for key, value in (metadata or {}).items():
        query = query.where(exists().where(label, LabelRow.key == key, LabelRow.value == value))
    return [(row[0], row[1]) for row in await session.execute(query)]


async def events_before(
    session: AsyncSession,
    job_id: str,
    before: int | None,
    limit: int,
    types: Sequence[str] = (),
) -> list[EventRow]:
    """Newest first: up to `limit` entries with seq < `before`."""
    query = select(EventRow).where(EventRow.job_id == job_id)
    if before is not None:
        query = query.where(EventRow.seq < before)
    if types:
        query = query.where(EventRow.type.in_(types))
    return list(await session.scalars(query.order_by(EventRow.seq.desc()).limit(limit)))


async def page_models(
    session: AsyncSession, tenant: str, *, before: int | None, limit: int
) -> list[tuple[JobRow, FineTuneRow | None]]:
    """A tenant's jobs that succeeded and whose model was not deleted, newest first."""
    query = (
        select(JobRow, FineTuneRow)
        .join(FineTuneRow, FineTuneRow.job_id == JobRow.id, isouter=True)
        .where(JobRow.tenant == tenant)
        .where(JobRow.status == JobStatus.SUCCEEDED, JobRow.model_deleted_at.is_(None))
        .order_by(JobRow.number.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(JobRow.number < before)
    return [(row[0], row[1]) for row in await session.execute(query)]


async def reports_at(
    session: AsyncSession, job_id: str, saved: Sequence[EventRow]
) -> dict[tuple[str, int], StepReport]:
    """(stage, step) → what it reported before it was saved, of entries that tell of checkpoints.
    Costs a look-up for each, however long the log is.
    """
    checkpoint, step = aliased(EventRow), aliased(EventRow)
    newest = (
        select(func.max(step.seq))
        .where(step.job_id == job_id, step.type == "step", step.seq < checkpoint.seq)
        .correlate(checkpoint)
        .scalar_subquery()
    )
    asked = checkpoint.job_id == job_id, checkpoint.seq.in_([row.seq for row in saved])
    query = select(EventRow).where(
        EventRow.job_id == job_id, EventRow.seq.in_(select(newest).where(*asked))
    )
    found: dict[tuple[str, int], StepReport] = {}
    for row in await session.scalars(query.order_by(EventRow.seq)):
        event = stored_event(row).event
        assert isinstance(event, StepCompleted)
        found[event.stage, event.step] = event.report
    return found
