"""Which job a request made, so that the same request again makes no second one."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.queue_tables import RequestRow
from api.store.tables import IdempotencyRow, JobRow
from api.store.types import now

RESEND_WINDOW = timedelta(minutes=15)
"""How long a request without an Idempotency-Key is known when the client sends it again."""


async def made_by_key(session: AsyncSession, tenant: str, key: str) -> IdempotencyRow | None:
    """What this Idempotency-Key was used for."""
    return await session.get(IdempotencyRow, (tenant, key))


async def made_before(session: AsyncSession, caller_id: str, body_sha256: str) -> str | None:
    """For a request that the client says it sends again: the newest job it asked for so."""
    query = select(RequestRow.job_id).join(JobRow, JobRow.id == RequestRow.job_id)
    mine = RequestRow.caller_id == caller_id, RequestRow.body_sha256 == body_sha256
    query = query.where(*mine, RequestRow.created_at >= now() - RESEND_WINDOW)
    return await session.scalar(query.order_by(JobRow.number.desc()).limit(1))


async def made_meanwhile(
    session: AsyncSession, caller_id: str, body_sha256: str, arrived: datetime
) -> str | None:
    """For a request sent for the first time: the job that its own repetition made, when that
    overtook it. It can be claimed once: a second job of the same body is meant.
    """
    mine = RequestRow.caller_id == caller_id, RequestRow.body_sha256 == body_sha256
    overtook = RequestRow.resent, RequestRow.created_at >= arrived
    query = select(RequestRow).where(*mine, *overtook).order_by(RequestRow.created_at).limit(1)
    found = await session.scalar(query)
    if found is None:
        return None
    found.resent = False
    return found.job_id


def remember(
    session: AsyncSession,
    job: JobRow,
    caller_id: str,
    body_sha256: str,
    *,
    key: str | None,
    resent: bool,
) -> None:
    """Store the request beside its job, in the same transaction."""
    if key is not None:
        session.add(
            IdempotencyRow(
                tenant=job.tenant,
                key=key,
                body_sha256=body_sha256,
                job_id=job.id,
                created_at=now(),
            )
        )
    session.add(
        RequestRow(
            job_id=job.id,
            caller_id=caller_id,
            body_sha256=body_sha256,
            resent=resent,
            created_at=now(),
        )
    )
