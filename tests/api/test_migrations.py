"""The migrations and the tables say the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from api.store import (  # noqa: F401  (what they define is compared)
    permission_tables,
    queue_tables,
    tables,
    webhook_tables,
)
from api.store.base import Base
from api.store.database import Database
from api.store.migrate import _config, is_current, migrate


@pytest.mark.asyncio
async def test_migrations_lead_to_the_tables(empty_database_url: str) -> None:
    url = empty_database_url.replace("postgresql:", "postgresql+asyncpg:")
    database = Database(url)
    assert not await is_current(database)
    await migrate(database)
    await migrate(database)
    assert await is_current(database)
    async with database.engine.connect() as connection:
        difference = await connection.run_sync(
            lambda c: compare_metadata(MigrationContext.configure(c), Base.metadata)
        )
    await database.close()
    assert difference == []


REVISIONS = [found.revision for found in ScriptDirectory.from_config(_config()).walk_revisions()]


@pytest.mark.asyncio
@pytest.mark.parametrize("revision", REVISIONS[1:])
async def test_rows_of_every_older_schema_survive(empty_database_url: str, revision: str) -> None:
    database = Database(empty_database_url.replace("postgresql:", "postgresql+asyncpg:"))
    await migrate(database, revision)
    # Without the service's limit on idle transactions: reading a schema takes a while.
    patient = create_async_engine(database.engine.url)
    async with patient.begin() as connection:
        filled = await connection.run_sync(fill)
    await patient.dispose()
    assert "jobs" in filled
    await migrate(database)
    assert await is_current(database)
    async with database.engine.connect() as connection:
        for name in filled:
            rows = await connection.execute(sa.text(f"SELECT count(*) FROM {name}"))
            assert rows.scalar_one() >= 1, name
        # As the code reads them now.
        for table in Base.metadata.sorted_tables:
            await connection.execute(sa.select(table))
    await database.close()


def fill(connection: sa.Connection) -> list[str]:
    """A row in each table of the schema that is there; their names."""
    found = sa.MetaData()
    found.reflect(connection)
    there = [table for table in found.sorted_tables if table.name != "alembic_version"]
    for table in there:
        if not connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one():
            row = {column.name: value_of(column) for column in table.columns}
            connection.execute(table.insert().values(row))
    return [table.name for table in there]


def value_of(column: sa.Column[Any]) -> object:
    """Something that the column takes; the same for every key, so that references hold."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {}
    if isinstance(kind, sa.DateTime):
        # SQLite keeps no zones.
        return datetime.now(UTC) if kind.timezone else datetime(2026, 1, 1)
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.Integer | sa.Numeric | sa.Float):
        return 1
    if isinstance(kind, sa.LargeBinary):
        return b"x"
    return "x"
