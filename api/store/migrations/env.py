"""Alembic's entry: runs the migrations on the connection that `api.store.migrate` opened."""

from __future__ import annotations

from alembic import context

from api.store import (  # noqa: F401  (what they define is compared)
    permission_tables,
    queue_tables,
    tables,
    webhook_tables,
)
from api.store.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
