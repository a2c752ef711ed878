"""Parents and inputs of jobs, registered models, garbage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.types import UtcDateTime

revision = "0008_lineage"
down_revision = "0007_uploads"

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("parent_kind", sa.String(length=16), nullable=True))
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"])
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("field", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id", "field"),
    )
    op.create_index(op.f("ix_job_inputs_source"), "job_inputs", ["source"])
    op.create_table(
        "registered_models",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("architecture", sa.String(length=128), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("tenant", "id", name="uq_registered_models_tenant"),
    )
    op.create_table(
        "garbage",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )


def downgrade() -> None:
    for table in ("garbage", "registered_models", "job_inputs"):
        op.drop_table(table)
    op.drop_index(op.f("ix_jobs_parent_id"), "jobs")
    op.drop_column("jobs", "parent_kind")
    op.drop_column("jobs", "parent_id")
