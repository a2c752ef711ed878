"""Rows of webhooks and deliveries: who is to be told what, and whose turn it is."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from api.schemas.webhooks import DeliveryState
from api.store.tables import EventRow, JobRow
from api.store.types import now
from api.store.webhook_tables import DeliveryRow, WebhookRow
from api.webhooks.names import name_of, wants
from rlhf_service.events import event_adapter

FORGOTTEN = "its event was dropped from the job's log"


async def listeners(session: AsyncSession, job: JobRow) -> Sequence[WebhookRow]:
    """Who may have asked for the job's events."""
    mine = WebhookRow.tenant == job.tenant, WebhookRow.disabled_at.is_(None)
    return list(await session.scalars(select(WebhookRow).where(*mine)))


def announce(session: AsyncSession, webhooks: Sequence[WebhookRow], row: EventRow) -> None:
    """A delivery of a new event for each webhook that asked for it, in the event's own
    transaction: what is in the log will be told.
    """
    if not webhooks:
        return
    name, moment = name_of(event_adapter.validate_python(row.body)), now()
    for webhook in webhooks:
        if wants(webhook.events.split(), name):
            session.add(
                DeliveryRow(
                    id=f"msg-{secrets.token_hex(12)}",
                    webhook_id=webhook.id,
                    job_id=row.job_id,
                    seq=row.seq,
                    type=name,
                    state=DeliveryState.PENDING,
                    attempts=0,
                    error="",
                    created_at=moment,
                    next_at=moment,
                )
            )


async def due(session: AsyncSession, limit: int) -> list[str]:
    """Deliveries whose turn it is: for one job and webhook, none before the one ahead of it."""
    earlier = aliased(DeliveryRow)
    ahead = exists().where(
        earlier.webhook_id == DeliveryRow.webhook_id,
        earlier.job_id == DeliveryRow.job_id,
        earlier.seq < DeliveryRow.seq,
        earlier.state == DeliveryState.PENDING,
    )
    moment = now()
    query = select(DeliveryRow.id).where(
        DeliveryRow.state == DeliveryState.PENDING,
        DeliveryRow.next_at <= moment,
        unheld(moment),
        ~ahead,
    )
    return list(await session.scalars(query.order_by(DeliveryRow.next_at).limit(limit)))


async def take_delivery(
    session: AsyncSession, delivery_id: str, token: str, seconds: float
) -> tuple[DeliveryRow, WebhookRow, JobRow, EventRow] | None:
    """The right to send it, with all that it is made of; None when another replica has it."""
    moment = now()
    taken = (
        update(DeliveryRow)
        .where(
            DeliveryRow.id == delivery_id,
            DeliveryRow.state == DeliveryState.PENDING,
            unheld(moment),
        )
        .values(lease_token=token, lease_expires_at=moment + timedelta(seconds=seconds))
        .returning(DeliveryRow.id)
    )
    if await session.scalar(taken) is None:
        return None
    if not await session.scalar(select(exists().where(*event_of(delivery_id)))):
        over = {"state": DeliveryState.DEAD, "error": FORGOTTEN, "next_at": None}
        mine = update(DeliveryRow).where(DeliveryRow.id == delivery_id)
        await session.execute(mine.values(**over, lease_token=None))
        return None
    query = (
        select(DeliveryRow, WebhookRow, JobRow, EventRow)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .join(JobRow, JobRow.id == DeliveryRow.job_id)
        .join(EventRow, (EventRow.job_id == DeliveryRow.job_id) & (EventRow.seq == DeliveryRow.seq))
        .where(DeliveryRow.id == delivery_id)
    )
    found = (await session.execute(query)).first()
    return None if found is None else (found[0], found[1], found[2], found[3])


def event_of(delivery_id: str) -> tuple[ColumnElement[bool], ...]:
    """The event that a delivery tells of, while the log goes back so far."""
    of_job = DeliveryRow.job_id == EventRow.job_id, DeliveryRow.seq == EventRow.seq
    return (DeliveryRow.id == delivery_id, *of_job)


async def lock_taken(session: AsyncSession, delivery_id: str, token: str) -> DeliveryRow | None:
    """The delivery, to write how it went; None when the right to it was lost meanwhile."""
    mine = DeliveryRow.id == delivery_id, DeliveryRow.lease_token == token
    return await session.scalar(select(DeliveryRow).where(*mine).with_for_update())


async def give_up_all(session: AsyncSession, webhook: WebhookRow, why: str) -> None:
    """Disable the webhook; what it has not been told is dead."""
    webhook.disabled_at = now()
    await session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook.id, DeliveryRow.state == DeliveryState.PENDING)
        .values(state=DeliveryState.DEAD, error=why, next_at=None, lease_token=None)
    )


async def purge(session: AsyncSession, before: datetime) -> None:
    """Forget deliveries that were over by then."""
    over = DeliveryRow.state != DeliveryState.PENDING, DeliveryRow.created_at < before
    await session.execute(delete(DeliveryRow).where(*over))


def unheld(moment: datetime) -> ColumnElement[bool]:
    """Nobody is sending it."""
    return or_(DeliveryRow.lease_token.is_(None), DeliveryRow.lease_expires_at < moment)
