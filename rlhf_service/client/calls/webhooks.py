"""`/v1/webhooks`."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_service.client.call import Call, one, part
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records.admin import Delivery, NewWebhook, Webhook


def create(
    url: str, events: Sequence[str] | None = None, description: str = ""
) -> Call[NewWebhook]:
    """Have events posted to a URL: `job.<status>`, `job.<type of event>`, or `*`; the ends of jobs
    when absent. The secret that signs them is told this once.
    """
    body = {"url": url, "description": description}
    more = {} if events is None else {"events": list(events)}
    return Call("POST", "/v1/webhooks", one(NewWebhook), json=body | more, repeatable=False)


def listed() -> Call[Page[Webhook]]:
    """Every webhook, oldest first."""
    return Call("GET", "/v1/webhooks", page(Webhook))


def get(webhook_id: str) -> Call[Webhook]:
    """One webhook."""
    return Call("GET", at(webhook_id), one(Webhook))


def delete(webhook_id: str) -> Call[Webhook]:
    """Nothing more is sent; its deliveries are forgotten."""
    return Call("DELETE", at(webhook_id), one(Webhook))


def deliveries(
    webhook_id: str, *, limit: int = 20, after: str | None = None, state: str | None = None
) -> Call[Page[Delivery]]:
    """A part of what was sent or is to be, newest first."""
    query = {"limit": limit, "after": after, "state": state}
    return Call("GET", at(webhook_id, "/deliveries"), page(Delivery), query=query)


def redeliver(webhook_id: str, delivery_id: str) -> Call[Delivery]:
    """Send a message again, whatever became of it."""
    path = at(webhook_id, f"/deliveries/{part(delivery_id)}/redeliver")
    return Call("POST", path, one(Delivery))


def at(webhook_id: str, more: str = "") -> str:
    return f"/v1/webhooks/{part(webhook_id)}{more}"
