"""The tables of webhooks. A change here needs a migration, as one of `tables` does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.store.base import Base, Number
from api.store.types import Words


class WebhookRow(Base):
    """An address that is told of a tenant's events. Its secret is derived, not stored."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(Words(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Words(40), index=True)
    url: Mapped[str] = mapped_column(Words(2048))
    events: Mapped[str] = mapped_column(Words)
    """Names of what it is told, space-separated."""
    description: Mapped[str] = mapped_column(Words(256), default="")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class DeliveryRow(Base):
    """One event for one webhook. What is sent is made of the event, which never changes."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "job_id", "seq", name="uq_deliveries_event"),
        Index("ix_deliveries_due", "state", "next_at"),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Words(40), unique=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    seq: Mapped[int] = mapped_column(Number)
    type: Mapped[str] = mapped_column(Words(64))
    state: Mapped[str] = mapped_column(Words(16))
    attempts: Mapped[int] = mapped_column(default=0)
    status_code: Mapped[int | None]
    error: Mapped[str] = mapped_column(Words, default="")
    created_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(Words(40))
    lease_expires_at: Mapped[datetime | None]
