"""Bring a database to the newest schema: `python -m api.store.migrate`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from api.settings import Settings
from api.store.database import Database


async def migrate(database: Database, revision: str = "head") -> None:
    """Run what has not run yet. Replicas starting together take turns."""
    async with database.write() as session:
        await database.serialize_queue(session)
        connection = await session.connection()
        await connection.run_sync(_upgrade, revision)


async def is_current(database: Database) -> bool:
    """Whether the schema is the one this code was written for."""
    async with database.engine.connect() as connection:
        head = ScriptDirectory.from_config(_config()).get_current_head()
        return await connection.run_sync(_revision) == head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _main() -> None:
    settings = Settings()
    database = Database.of(settings)
    try:
        await migrate(database)
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_main())
