"""Indices for pages of many jobs, and for jobs that ended lately or long ago; jobs' spans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_pages"
down_revision = "0008_lineage"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=64), nullable=True))
    op.create_index("ix_jobs_tenant_number", "jobs", ["tenant", "number"])
    op.create_index("ix_jobs_status_number", "jobs", ["status", "number"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.drop_index("ix_jobs_tenant", "jobs")
    op.drop_index("ix_jobs_status", "jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.create_index("ix_jobs_tenant", "jobs", ["tenant"])
    op.drop_column("jobs", "traceparent")
    for name in ("finished_at", "status_number", "tenant_number"):
        op.drop_index(f"ix_jobs_{name}", "jobs")
