"""The gap-free log of a job."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC

from pydantic_core import to_json
from sqlalchemy import Text, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.database import tell
from api.store.tables import EventRow, JobRow
from api.store.types import now
from api.store.webhooks import announce, listeners
from rlhf_service.events import Event, EventRecord, StoredEvent
from rlhf_service.job import JobStatus

CONTROL = "control"
"""The control plane's own producer name; nobody else may use it."""


async def unknown_records(
    session: AsyncSession, job: JobRow, records: Sequence[EventRecord]
) -> list[EventRecord]:
    """Those not stored before, each once, in order. The caller holds the job's row lock."""
    known = set(await _known(session, job.id, records))
    fresh: list[EventRecord] = []
    for record in records:
        key = (record.producer, record.producer_seq)
        if key not in known:
            known.add(key)
            fresh.append(record)
    return fresh


def append_record(session: AsyncSession, job: JobRow, record: EventRecord) -> EventRow:
    """Store it as the job's next entry. The caller holds the job's row lock, so numbers have no
    gap and no two writers share one.
    """
    job.last_seq += 1
    row = _row(job, record)
    session.add(row)
    tell(session, job.id)
    return row


async def append_own(session: AsyncSession, job: JobRow, event: Event) -> None:
    """Store and announce an event of the control plane itself. The caller holds the job's row lock."""
    job.control_seq += 1
    record = EventRecord(
        job_id=job.id,
        attempt=0,
        producer=CONTROL,
        producer_seq=job.control_seq,
        created_at=now(),
        event=event,
    )
    announce(session, await listeners(session, job), append_record(session, job, record))


async def events_after(
    session: AsyncSession, job_id: str, after: int, limit: int, types: Sequence[str] = ()
) -> list[EventRow]:
    """Up to `limit` entries with seq > `after`, in order."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.seq > after)
    if types:
        query = query.where(EventRow.type.in_(types))
    return list(await session.scalars(query.order_by(EventRow.seq).limit(limit)))


async def events_of_type(session: AsyncSession, job_id: str, kind: str) -> list[EventRow]:
    """Every entry of a type, older attempts first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.type == kind)
    return list(await session.scalars(query.order_by(EventRow.attempt, EventRow.seq)))


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a job's log begins and ends, and whether more may come."""

    first: int
    """Oldest seq kept."""
    last: int
    """Newest seq."""
    status: JobStatus


async def extents(session: AsyncSession, job_ids: Collection[str]) -> dict[str, Extent]:
    """Of those of the jobs that exist."""
    query = select(JobRow.id, JobRow.first_seq, JobRow.last_seq, JobRow.status)
    rows = await session.execute(query.where(JobRow.id.in_(job_ids)))
    return {job: Extent(first, last, JobStatus(status)) for job, first, last, status in rows}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log as clients read it."""

    seq: int
    type: str
    json: bytes
    """The StoredEvent; its event is the text as stored, which was checked when it came."""


async def entries_after(session: AsyncSession, job_id: str, after: int, limit: int) -> list[Entry]:
    """Up to `limit` entries with seq > `after`, in order; cheaper than rows."""
    columns = (
        EventRow.seq, EventRow.attempt, EventRow.producer, EventRow.producer_seq, EventRow.type,
        EventRow.created_at, cast(EventRow.body, Text),
    )  # fmt: skip
    query = select(*columns).where(EventRow.job_id == job_id, EventRow.seq > after)
    entries: list[Entry] = []
    for row in await session.execute(query.order_by(EventRow.seq).limit(limit)):
        seq, attempt, producer, producer_seq, kind, created_at, body = row
        head = to_json(
            {
                "seq": seq,
                "job_id": job_id,
                "attempt": attempt,
                "producer": producer,
                "producer_seq": producer_seq,
                "created_at": created_at,
            }
        )
        entries.append(Entry(seq, kind, head[:-1] + b',"event":' + body.encode() + b"}"))
    return entries


async def drop_before(session: AsyncSession, job: JobRow, seq: int) -> None:
    """Let the job's log begin at `seq`. The caller holds the job's row lock."""
    await session.execute(delete(EventRow).where(EventRow.job_id == job.id, EventRow.seq < seq))
    job.first_seq = seq


async def last_of_producers(
    session: AsyncSession, job_id: str, producers: Iterable[str]
) -> dict[str, int]:
    """Newest producer_seq stored of each of those producers of the job."""
    found: dict[str, int] = {}
    for producer in sorted(set(producers)):
        query = select(func.max(EventRow.producer_seq)).where(
            EventRow.job_id == job_id, EventRow.producer == producer
        )
        found[producer] = await session.scalar(query) or 0
    return found


def stored_event(row: EventRow) -> StoredEvent:
    """The row as the public record."""
    return StoredEvent.model_validate(
        {
            "seq": row.seq,
            "job_id": row.job_id,
            "attempt": row.attempt,
            "producer": row.producer,
            "producer_seq": row.producer_seq,
            "created_at": row.created_at,
            "event": row.body,
        }
    )


async def _known(
    session: AsyncSession, job_id: str, records: Sequence[EventRecord]
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for producer in {record.producer for record in records}:
        seqs = [record.producer_seq for record in records if record.producer == producer]
        query = select(EventRow.producer_seq).where(
            EventRow.job_id == job_id,
            EventRow.producer == producer,
            EventRow.producer_seq.between(min(seqs), max(seqs)),
        )
        found += [(producer, seq) for seq in await session.scalars(query)]
    return found


def _row(job: JobRow, record: EventRecord) -> EventRow:
    return EventRow(
        job_id=job.id,
        seq=job.last_seq,
        attempt=record.attempt,
        producer=record.producer,
        producer_seq=record.producer_seq,
        type=record.event.type,
        body=record.event.model_dump(mode="json"),
        created_at=record.created_at.replace(tzinfo=record.created_at.tzinfo or UTC),
    )
