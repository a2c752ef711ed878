"""What the API says of webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from api.schemas.base import View
from api.webhooks.names import ENDS, EVERYTHING, NAMES


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"  #: not delivered yet; tried again
    DELIVERED = "delivered"  #: the receiver answered 2xx
    DEAD = "dead"  #: given up; can be asked for again


class WebhookRequest(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    """Where events are posted. No private address, unless the operator allows it."""
    events: tuple[str, ...] = Field(default=ENDS, min_length=1, max_length=64)
    """`job.<status>`, `job.<type of event>`, or `*`; the ends of jobs when absent."""
    description: Annotated[str, StringConstraints(max_length=256)] = ""
    """For people."""

    @field_validator("events")
    @classmethod
    def events_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name != EVERYTHING and name not in NAMES:
                raise ValueError(
                    f"there is no event {name!r}; there are: {', '.join(sorted(NAMES))}"
                )
        return tuple(dict.fromkeys(value))


class WebhookView(View):
    """A webhook without its secret."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    description: str
    created_at: datetime
    disabled_at: datetime | None
    """Since when nothing is sent; its receiver said 410 Gone."""


class NewWebhookView(WebhookView):
    """A webhook with the secret that its messages are signed with, which is shown this once."""

    secret: str


class DeliveryView(View):
    """One message to one webhook."""

    id: str
    """The message's `webhook-id`: the same however often it is sent."""
    object: Literal["delivery"] = "delivery"
    webhook_id: str
    job_id: str
    seq: int
    """Number of the event in its job's log."""
    type: str
    state: DeliveryState
    attempts: int
    """Sendings so far."""
    status_code: int | None
    """What the receiver answered last."""
    error: str
    """Why the last sending failed; empty when it did not."""
    created_at: datetime
    next_at: datetime | None
    """When it is sent next."""
    delivered_at: datetime | None
