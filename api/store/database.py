"""Connections and transactions, for SQLite (WAL) and PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

if TYPE_CHECKING:
    from api.settings import Settings

QUEUE_LOCK = 0x726C6866  # any constant: names the advisory lock of the job queue
NEWS_CHANNEL = "rlhf_events"
"""Where PostgreSQL tells the other replicas which job has new events."""


class Database:
    """One engine; `read` and `write` are the only ways to a session."""

    def __init__(self, url: str, idle: float = 10.0) -> None:
        """`idle`: seconds after which PostgreSQL ends a transaction in which nothing is said."""
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        options: dict[str, Any] = {}
        if not self.is_sqlite:
            # A replica that froze in a transaction would hold its rows for as long as it sleeps.
            timeout = {"idle_in_transaction_session_timeout": f"{round(idle * 1000)}ms"}
            options = {"pool_pre_ping": True, "connect_args": {"server_settings": timeout}}
        self.engine = create_async_engine(self.url, **options)
        writer = self.engine.execution_options(takes_write_lock=True)
        self._reads = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writes = async_sessionmaker(writer, expire_on_commit=False)
        # SQLite has one writer and its busy-wait is not fair; waiting in line here is.
        self._turn = asyncio.Lock() if self.is_sqlite else None
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", begin_sqlite)

    @classmethod
    def of(cls, settings: Settings) -> Database:
        """The one that the settings name, with their limits."""
        return cls(settings.database, settings.database_idle)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A consistent view; nothing is written."""
        async with self._reads() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Not to be nested: on SQLite the inner one would wait for the outer one for ever.
        """
        async with self._turn or nullcontext(), self._writes() as session, session.begin():
            yield session
            news: set[str] = session.info.get(NEWS_CHANNEL, set())
            if news and not self.is_sqlite:  # sent by the commit, and only by it
                notice = text(
                    "SELECT pg_notify(:channel, job) FROM unnest(CAST(:jobs AS text[])) job"
                )
                await session.execute(notice, {"channel": NEWS_CHANNEL, "jobs": sorted(news)})

    async def serialize(self, session: AsyncSession, what: str) -> None:
        """Until the transaction ends, nobody else does anything under the same name."""
        if not self.is_sqlite:
            digest = hashlib.sha256(what.encode()).digest()
            key = int.from_bytes(digest[:8], "big", signed=True)
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    async def serialize_queue(self, session: AsyncSession) -> None:
        """Until the transaction ends, no other replica decides who starts next."""
        if not self.is_sqlite:
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": QUEUE_LOCK})

    async def close(self) -> None:
        await self.engine.dispose()


def tell(session: AsyncSession, job_id: str) -> None:
    """Let every replica know, once this is committed, that the job has new events."""
    session.info.setdefault(NEWS_CHANNEL, set()).add(job_id)


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Pragmas of every new connection; transactions are begun by `begin_sqlite`."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock at once: upgrading a read transaction can only fail."""
    immediate = connection.get_execution_options().get("takes_write_lock", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
