"""Tenants of jobs, files, keys and idempotency keys; when keys expire and were used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.types import UtcDateTime

revision = "0003_tenants"
down_revision = "0002"

OWNED = ("jobs", "files", "api_keys")


def upgrade() -> None:
    # What there is belongs to the operator's tenant.
    for table in OWNED:
        op.add_column(table, tenant())
        op.create_index(f"ix_{table}_tenant", table, ["tenant"])
    op.add_column("api_keys", sa.Column("expires_at", UtcDateTime(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", UtcDateTime(), nullable=True))
    op.rename_table("idempotency_keys", "idempotency_keys_before")
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="idempotency_keys_of_tenants"),
    )
    op.execute(
        "INSERT INTO idempotency_keys (tenant, key, body_sha256, job_id, created_at) "
        "SELECT 'default', key, body_sha256, job_id, created_at FROM idempotency_keys_before"
    )
    op.drop_table("idempotency_keys_before")


def tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.String(length=40), nullable=False, server_default="default")


def downgrade() -> None:
    raise NotImplementedError("tenants cannot be told apart again")
