"""API keys. Only digests are stored; a key's secret is shown once."""

from __future__ import annotations

import asyncio
import secrets

from sqlalchemy import func, select

from api.schemas import KeyView, NewKeyView
from api.service.faults import Conflict, NotFound, NotSignedIn
from api.service.secret import digest
from api.service.views import key_view
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables import KeyRow
from api.store.types import now


class Keys:
    """What the routes under `/v1/keys`, and every request's check, call."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def create(self, name: str) -> NewKeyView:
        """A new key with all scopes."""
        row, secret = new_key(name)
        async with self.database.write() as session:
            session.add(row)
        return NewKeyView(**key_view(row).model_dump(), secret=secret)

    async def every(self) -> list[KeyView]:
        """Every key, revoked ones too, oldest first."""
        async with self.database.read() as session:
            rows = await session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id))
            return [key_view(row) for row in rows]

    async def revoke(self, key_id: str) -> KeyView:
        """From now on the key opens nothing. Raises Conflict for the last one."""
        active = select(func.count()).where(KeyRow.revoked_at.is_(None))
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            row = await session.get(KeyRow, key_id)
            if row is None:
                raise NotFound(f"there is no key {key_id!r}")
            if row.revoked_at is None:
                if await session.scalar(active) == 1:
                    raise Conflict("this is the last key; make another before revoking it")
                row.revoked_at = now()
        return key_view(row)

    async def check(self, secret: str) -> str:
        """The id of the key that this is. Raises NotSignedIn."""
        query = select(KeyRow.id).where(
            KeyRow.sha256 == digest(secret), KeyRow.revoked_at.is_(None)
        )
        async with self.database.read() as session:
            key_id = await session.scalar(query)
        if key_id is None:
            raise NotSignedIn("this API key is not valid, or was revoked")
        return key_id

    async def ensure_first(self, settings: Settings) -> str | None:
        """Make the first key when there is none; returns its secret, else None."""
        given = settings.bootstrap_key
        row, secret = new_key("first", given.get_secret_value() if given else None)
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            if await session.scalar(select(func.count()).select_from(KeyRow)):
                return None
            session.add(row)
        return secret


def new_key(name: str, secret: str | None = None) -> tuple[KeyRow, str]:
    """A key's row and its secret."""
    secret = secret or f"rlhf_{secrets.token_urlsafe(32)}"
    row = KeyRow(
        id=f"key-{secrets.token_hex(8)}",
        name=name,
        prefix=secret[:10],
        sha256=digest(secret),
        scopes="read write admin",
        created_at=now(),
    )
    return row, secret


def create_first_key(settings: Settings) -> str | None:
    """The first API key's secret, made now; None when there are keys already.

    For whoever starts the server and can show the secret to its user. Call it before the event
    loop runs.
    """

    async def create() -> str | None:
        database = Database(settings.database)
        try:
            if settings.migrate or (settings.migrate is None and database.is_sqlite):
                await migrate(database)
            return await Keys(database).ensure_first(settings)
        finally:
            await database.close()

    return asyncio.run(create())
