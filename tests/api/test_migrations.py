"""The migrations and the tables say the same."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api.store import queue_tables, tables, webhook_tables  # noqa: F401  (what they define is compared)
from api.store.base import Base
from api.store.database import Database
from api.store.migrate import is_current, migrate


@pytest.mark.asyncio
async def test_migrations_lead_to_the_tables(database_url: str) -> None:
    url = database_url.replace("postgresql:", "postgresql+asyncpg:")
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
