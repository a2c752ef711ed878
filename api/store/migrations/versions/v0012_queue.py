"""Priorities, pre-emption and dependencies of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_queue"
down_revision = "0011_webhooks"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "jobs",
        sa.Column("preemptible", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("jobs", sa.Column("preempted_by", sa.String(length=40), nullable=True))
    op.create_table(
        "dependencies",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("needs", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.ForeignKeyConstraint(["needs"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id", "needs"),
    )
    op.create_index("ix_attempts_created_at", "attempts", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_attempts_created_at", "attempts")
    op.drop_table("dependencies")
    for column in ("preempted_by", "preemptible", "priority"):
        op.drop_column("jobs", column)
