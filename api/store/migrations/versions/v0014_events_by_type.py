"""The newest event of a type is found at once."""

from __future__ import annotations

from alembic import op

revision = "0014_events_by_type"
down_revision = "0013_plans"


def upgrade() -> None:
    op.create_index("ix_events_type_seq", "events", ["job_id", "type", "seq"])
    op.drop_index("ix_events_type", "events")


def downgrade() -> None:
    op.create_index("ix_events_type", "events", ["job_id", "type"])
    op.drop_index("ix_events_type_seq", "events")
