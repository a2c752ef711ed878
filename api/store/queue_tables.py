"""The tables of how jobs came and what they wait for. A change here needs a migration."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from api.store.base import Base
from api.store.types import Words


class RequestRow(Base):
    """The request that a job was asked for with, by which one sent again is known."""

    __tablename__ = "requests"
    __table_args__ = (Index("ix_requests_body", "caller_id", "body_sha256"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    caller_id: Mapped[str] = mapped_column(Words(64))
    body_sha256: Mapped[str] = mapped_column(Words(64))
    resent: Mapped[bool]
    """It said that it was sent again, and the first sending has not arrived."""
    created_at: Mapped[datetime]


class DependencyRow(Base):
    """A job that has to succeed before another starts."""

    __tablename__ = "dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
