"""Permissions of checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.base import Number
from api.store.types import UtcDateTime

revision = "0015_permissions"
down_revision = "0014_events_by_type"


def upgrade() -> None:
    op.create_table(
        "checkpoint_permissions",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("checkpoint", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint(
            "job_id", "checkpoint", "tenant", name="uq_checkpoint_permissions_tenant"
        ),
    )


def downgrade() -> None:
    op.drop_table("checkpoint_permissions")
