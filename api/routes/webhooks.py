"""`/v1/webhooks`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import CallerDep, Limit, ServicesDep
from api.schemas.base import Page
from api.schemas.webhooks import (
    DeliveryState,
    DeliveryView,
    NewWebhookView,
    WebhookRequest,
    WebhookView,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookId = Annotated[str, Path(min_length=1, max_length=64, description="The webhook's id.")]
DeliveryId = Annotated[str, Path(min_length=1, max_length=64, description="The delivery's id.")]


@router.post("", status_code=201)
async def create_webhook(
    request: WebhookRequest, caller: CallerDep, parts: ServicesDep
) -> NewWebhookView:
    """Have events posted to a URL. The secret that signs them is shown this once."""
    return await parts.webhooks.create(caller, request)


@router.get("")
async def list_webhooks(caller: CallerDep, parts: ServicesDep) -> Page[WebhookView]:
    """Every webhook, oldest first."""
    found = await parts.webhooks.every(caller)
    return Page[WebhookView].of(found, len(found), lambda webhook: webhook.id)


@router.get("/{webhook_id}")
async def get_webhook(webhook_id: WebhookId, caller: CallerDep, parts: ServicesDep) -> WebhookView:
    """One webhook."""
    return await parts.webhooks.get(caller, webhook_id)


@router.delete("/{webhook_id}")
async def delete_webhook(
    webhook_id: WebhookId, caller: CallerDep, parts: ServicesDep
) -> WebhookView:
    """Nothing more is sent; its deliveries are forgotten."""
    return await parts.webhooks.delete(caller, webhook_id)


@router.get("/{webhook_id}/deliveries")
async def list_deliveries(
    webhook_id: WebhookId,
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[
        str | None, Query(max_length=64, description="Only deliveries older than this one.")
    ] = None,
    limit: Limit = 20,
    state: Annotated[DeliveryState | None, Query(description="Only in this.")] = None,
) -> Page[DeliveryView]:
    """Newest first."""
    return await parts.webhooks.deliveries(caller, webhook_id, after, limit, state)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
async def redeliver(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: CallerDep, parts: ServicesDep
) -> DeliveryView:
    """Send a message again, whatever became of it."""
    return await parts.webhooks.redeliver(caller, webhook_id, delivery_id)
