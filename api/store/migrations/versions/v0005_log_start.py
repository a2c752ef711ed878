"""Where a job's log begins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_log_start"
down_revision = "0004_quotas"

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    first = sa.Column("first_seq", Number, server_default="1", nullable=False)
    op.add_column("jobs", first)


def downgrade() -> None:
    op.drop_column("jobs", "first_seq")
