"""Webhooks: making them, and seeing what became of their messages."""

from __future__ import annotations

import secrets

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.schemas.base import Page
from api.schemas.webhooks import (
    DeliveryState,
    DeliveryView,
    NewWebhookView,
    WebhookRequest,
    WebhookView,
)
from api.service.caller import Caller
from api.service.faults import BadParameter, Conflict, NotFound
from api.service.secret import webhook_key
from api.service.signals import Signals
from api.store.database import Database
from api.store.types import now
from api.store.webhook_tables import DeliveryRow, WebhookRow
from api.webhooks.signature import shown
from rlhf_service.reward.operator import Operator
from rlhf_service.reward.remote.address import AddressRefused, check_url

MOST = 32
"""Webhooks of one tenant."""


class Webhooks:
    """What the routes under `/v1/webhooks` call."""

    def __init__(self, database: Database, signals: Signals, secret: bytes) -> None:
        self.database = database
        self.signals = signals
        self.secret = secret

    async def create(self, caller: Caller, request: WebhookRequest) -> NewWebhookView:
        """A new webhook. Raises BadParameter for an address that may not be called."""
        operator = Operator.read()
        try:
            check_url(request.url, operator.private_urls, operator.url_hosts)
        except AddressRefused as fault:
            raise BadParameter(str(fault), "url") from None
        row = WebhookRow(
            id=f"wh-{secrets.token_hex(8)}",
            tenant=caller.tenant,
            url=request.url,
            events=" ".join(request.events),
            description=request.description,
            created_at=now(),
        )
        async with self.database.write() as session:
            await self.database.serialize(session, f"webhooks {caller.tenant}")
            mine = select(func.count()).where(WebhookRow.tenant == caller.tenant)
            if (await session.scalar(mine) or 0) >= MOST:
                raise Conflict(f"there are {MOST} webhooks already; delete one first")
            session.add(row)
        view = webhook_view(row).model_dump()
        return NewWebhookView(**view, secret=shown(webhook_key(self.secret, row.id)))

    async def every(self, caller: Caller) -> list[WebhookView]:
        """Oldest first."""
        query = select(WebhookRow).where(WebhookRow.tenant == caller.tenant)
        async with self.database.read() as session:
            rows = await session.scalars(query.order_by(WebhookRow.created_at, WebhookRow.id))
            return [webhook_view(row) for row in rows]

    async def get(self, caller: Caller, webhook_id: str) -> WebhookView:
        async with self.database.read() as session:
            return webhook_view(await own(session, caller, webhook_id))

    async def delete(self, caller: Caller, webhook_id: str) -> WebhookView:
        """Nothing more is sent; its deliveries are forgotten."""
        async with self.database.write() as session:
            row = await own(session, caller, webhook_id)
            view = webhook_view(row)
            await session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == row.id))
            await session.delete(row)
        return view

    async def deliveries(
        self,
        caller: Caller,
        webhook_id: str,
        after: str | None,
        limit: int,
        state: DeliveryState | None,
    ) -> Page[DeliveryView]:
        """Newest first."""
        async with self.database.read() as session:
            await own(session, caller, webhook_id)
            query = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
            if after is not None:
                cursor = await own_delivery(session, webhook_id, after)
                query = query.where(DeliveryRow.number < cursor.number)
            if state is not None:
                query = query.where(DeliveryRow.state == state)
            query = query.order_by(DeliveryRow.number.desc()).limit(limit + 1)
            views = [delivery_view(row) for row in await session.scalars(query)]
        return Page[DeliveryView].of(views, limit, lambda view: view.id)

    async def redeliver(self, caller: Caller, webhook_id: str, delivery_id: str) -> DeliveryView:
        """Send it again, under the same message id. Raises Conflict for a disabled webhook."""
        async with self.database.write() as session:
            webhook = await own(session, caller, webhook_id)
            if webhook.disabled_at is not None:
                raise Conflict(
                    "the webhook is disabled: its receiver said 410 Gone; make a new one"
                )
            row = await own_delivery(session, webhook_id, delivery_id)
            row.state, row.attempts, row.next_at = DeliveryState.PENDING, 0, now()
            row.lease_token = row.lease_expires_at = None  # whoever is sending it writes nothing
            view = delivery_view(row)
        self.signals.news.set()
        return view


async def own(session: AsyncSession, caller: Caller, webhook_id: str) -> WebhookRow:
    """The caller's webhook. Raises NotFound."""
    row = await session.get(WebhookRow, webhook_id)
    if row is None or row.tenant != caller.tenant:
        raise NotFound(f"there is no webhook {webhook_id!r}")
    return row


async def own_delivery(session: AsyncSession, webhook_id: str, delivery_id: str) -> DeliveryRow:
    mine = DeliveryRow.id == delivery_id, DeliveryRow.webhook_id == webhook_id
    row = await session.scalar(select(DeliveryRow).where(*mine))
    if row is None:
        raise NotFound(f"webhook {webhook_id} has no delivery {delivery_id!r}")
    return row


def webhook_view(row: WebhookRow) -> WebhookView:
    return WebhookView(
        id=row.id,
        url=row.url,
        events=row.events.split(),
        description=row.description,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )


def delivery_view(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        webhook_id=row.webhook_id,
        job_id=row.job_id,
        seq=row.seq,
        type=row.type,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        status_code=row.status_code,
        error=row.error,
        created_at=row.created_at,
        next_at=row.next_at,
        delivered_at=row.delivered_at,
    )
