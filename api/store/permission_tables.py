"""Which tenants may use other tenants' checkpoints. A change here needs a migration."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.store.base import Base, Number
from api.store.types import Words


class PermissionRow(Base):
    """A tenant that may chat with one checkpoint of another tenant's job."""

    __tablename__ = "checkpoint_permissions"
    __table_args__ = (
        UniqueConstraint("job_id", "checkpoint", "tenant", name="uq_checkpoint_permissions_tenant"),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Words(40), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    checkpoint: Mapped[str] = mapped_column(Words(64))
    """Its folder's name; empty for the job's finished model."""
    tenant: Mapped[str] = mapped_column(Words(40))
    """Who may."""
    created_at: Mapped[datetime]
