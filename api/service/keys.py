"""API keys. Only digests are stored; a key's secret is shown once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from api.schemas.keys import KeyRequest, KeyView, NewKeyView, RotateRequest
from api.service.caller import OPERATOR, Caller, Scope, including
from api.service.faults import (
    BadParameter,
    Conflict,
    Forbidden,
    NotFound,
    NotSignedIn,
    WrongCredentials,
)
from api.service.secret import digest
from api.service.views import key_view
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables import KeyRow
from api.store.types import now

USE_NOTED_EVERY = timedelta(minutes=1)


class Keys:
    """What the routes under `/v1/keys`, and every request's check, call."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._used: dict[str, datetime] = {}
        """Key id → when its use was last written down."""

    async def create(self, caller: Caller, request: KeyRequest) -> NewKeyView:
        """A new key. Raises Forbidden for another tenant's unless the operator asks."""
        tenant = request.tenant or caller.tenant
        if tenant != caller.tenant and not caller.is_operator:
            raise Forbidden(
                f"only the operator makes keys for other tenants ({tenant!r})", "tenant"
            )
        if request.expires_at is not None and request.expires_at <= now():
            raise BadParameter("is in the past; name a later time", "expires_at")
        row, secret = new_key(request.name, tenant, request.scopes, request.expires_at)
        async with self.database.write() as session:
            session.add(row)
        return NewKeyView(**key_view(row).model_dump(), secret=secret)

    async def every(self, caller: Caller, tenant: str | None) -> list[KeyView]:
        """Revoked ones too, oldest first; of every tenant when the operator names none."""
        query = select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)
        if not caller.is_operator:
            query = query.where(KeyRow.tenant == caller.tenant)
        if tenant is not None:
            query = query.where(KeyRow.tenant == tenant)
        async with self.database.read() as session:
            return [key_view(row) for row in await session.scalars(query)]

    async def revoke(self, caller: Caller, key_id: str) -> KeyView:
        """From now on the key opens nothing. Raises Conflict for the operator's last one."""
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            row = await self._find(session, caller, key_id)
            if is_active(row):
                await self._keep_one(session, row)
                row.revoked_at = now()
        return key_view(row)

    async def rotate(self, caller: Caller, key_id: str, request: RotateRequest) -> NewKeyView:
        """A new key with the same rights; the old one ends after the grace. Raises Conflict."""
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            old = await self._find(session, caller, key_id)
            if not is_active(old):
                raise Conflict("this key was revoked or has expired; make a new one")
            row, secret = new_key(old.name, old.tenant, old.scopes.split(), old.expires_at)
            session.add(row)
            end = now() + timedelta(seconds=request.grace_seconds)
            if request.grace_seconds == 0:
                old.revoked_at = end
            else:
                old.expires_at = min(end, old.expires_at or end)
        return NewKeyView(**key_view(row).model_dump(), secret=secret)

    async def check(self, secret: str) -> Caller:
        """Whose key this is. Raises WrongCredentials."""
        async with self.database.read() as session:
            row = await session.scalar(select(KeyRow).where(KeyRow.sha256 == digest(secret)))
        if row is None or not is_active(row):
            raise WrongCredentials("this API key is not valid, has expired or was revoked")
        await self._note_use(row)
        return caller_of(row)

    async def by_id(self, key_id: str) -> Caller:
        """Whose key this is, for a session that it began. Raises NotSignedIn."""
        async with self.database.read() as session:
            row = await session.get(KeyRow, key_id)
        if row is None or not is_active(row):
            raise NotSignedIn("the key that began this session has ended; sign in again")
        return caller_of(row)

    async def ensure_first(self, settings: Settings) -> str | None:
        """Make the first key when there is none; returns its secret, else None."""
        given = settings.bootstrap_key
        row, secret = new_key(
            "first", OPERATOR, Scope, None, given.get_secret_value() if given else None
        )
        async with self.database.write() as session:
            await self.database.serialize_queue(session)
            if await session.scalar(select(func.count()).select_from(KeyRow)):
                return None
            session.add(row)
        return secret

    async def _find(self, session: AsyncSession, caller: Caller, key_id: str) -> KeyRow:
        row = await session.get(KeyRow, key_id)
        if row is None or (row.tenant != caller.tenant and not caller.is_operator):
            raise NotFound(f"there is no key {key_id!r}")
        return row

    async def _keep_one(self, session: AsyncSession, row: KeyRow) -> None:
        """Raises Conflict when nobody could manage the service without this key."""
        others = select(KeyRow).where(
            KeyRow.id != row.id,
            KeyRow.tenant == OPERATOR,
            KeyRow.revoked_at.is_(None),
            KeyRow.expires_at.is_(None),
        )
        if not is_master(row) or any(is_master(other) for other in await session.scalars(others)):
            return
        raise Conflict(
            "this is the last admin key of the operator; make another before revoking it"
        )

    async def _note_use(self, row: KeyRow) -> None:
        """Write down when the key was used, at most once a minute."""
        moment = now()
        last = max(filter(None, (self._used.get(row.id), row.last_used_at)), default=None)
        if last is not None and moment - last < USE_NOTED_EVERY:
            return
        self._used[row.id] = moment
        async with self.database.write() as session:
            await session.execute(
                update(KeyRow).where(KeyRow.id == row.id).values(last_used_at=moment)
            )


def caller_of(row: KeyRow) -> Caller:
    return Caller(id=row.id, name=row.name, tenant=row.tenant, scopes=including(row.scopes.split()))


def is_active(row: KeyRow) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now())


def is_master(row: KeyRow) -> bool:
    return row.tenant == OPERATOR and Scope.ADMIN in row.scopes.split()


def new_key(
    name: str,
    tenant: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
    secret: str | None = None,
) -> tuple[KeyRow, str]:
    """A key's row and its secret."""
    secret = secret or f"rlhf_{secrets.token_urlsafe(32)}"
    row = KeyRow(
        id=f"key-{secrets.token_hex(8)}",
        tenant=tenant,
        name=name,
        prefix=secret[:10],
        sha256=digest(secret),
        scopes=" ".join(including(scopes)),
        created_at=now(),
        expires_at=expires_at,
    )
    return row, secret


def create_first_key(settings: Settings) -> str | None:
    """The first API key's secret, made now; None when there are keys already.

    For whoever starts the server and can show the secret to its user. Call it before the event
    loop runs.
    """

    async def create() -> str | None:
        database = Database.of(settings)
        try:
            if settings.migrate or (settings.migrate is None and database.is_sqlite):
                await migrate(database)
            return await Keys(database).ensure_first(settings)
        finally:
            await database.close()

    return asyncio.run(create())
