"""Plans of jobs, and what they took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.types import UtcDateTime

revision = "0013_plans"
down_revision = "0012_queue"


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("actual", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )


def downgrade() -> None:
    op.drop_table("plans")
