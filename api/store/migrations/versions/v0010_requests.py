"""Requests by which jobs were asked for, whichever API they came through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.types import UtcDateTime

revision = "0010_requests"
down_revision = "0009_pages"


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("caller_id", sa.String(length=64), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("resent", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("ix_requests_body", "requests", ["caller_id", "body_sha256"])
    op.drop_index("ix_fine_tunes_body", "fine_tunes")
    op.drop_column("fine_tunes", "body_sha256")
    op.drop_column("fine_tunes", "key_id")


def downgrade() -> None:
    raise NotImplementedError("who asked for a fine-tuning job is not kept beside it any more")
