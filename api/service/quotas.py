"""Quotas: the operator sets them, a tenant sees its own."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy.ext.asyncio import AsyncSession

from api.schemas.quotas import QuotaRequest, QuotaView, UseView
from api.service.caller import Caller
from api.service.faults import Forbidden, NotFound, QuotaExceeded
from api.store.database import Database
from api.store.quotas import EVERYBODY, Quota, Use, known_tenants, queued_by, quota_of, use_of
from api.store.tables import QuotaRow
from api.store.types import now
from rlhf_service.errors import SpecError
from rlhf_service.launching import Capacity


class Quotas:
    """What the routes under `/v1/quotas` call."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def every(self, caller: Caller) -> list[QuotaView]:
        """By tenant; to the operator every tenant's, to others their own."""
        async with self.database.read() as session:
            names = [caller.tenant]
            if caller.is_operator:
                names = [EVERYBODY, *await known_tenants(session)]
            return [await view(session, name) for name in names]

    async def get(self, caller: Caller, tenant: str) -> QuotaView:
        check_sight(caller, tenant)
        async with self.database.read() as session:
            return await view(session, tenant)

    async def set(self, caller: Caller, tenant: str, request: QuotaRequest) -> QuotaView:
        """Raises Forbidden for everyone but the operator."""
        check_sight(caller, tenant)
        if not caller.is_operator:
            raise Forbidden("only the operator sets quotas")
        async with self.database.write() as session:
            row = QuotaRow(tenant=tenant, updated_at=now(), **request.model_dump())
            await session.merge(row)
            await session.flush()
            return await view(session, tenant)

    async def reset(self, caller: Caller, tenant: str) -> QuotaView:
        """From now on everybody's limits are the tenant's."""
        check_sight(caller, tenant)
        if not caller.is_operator:
            raise Forbidden("only the operator sets quotas")
        async with self.database.write() as session:
            row = await session.get(QuotaRow, tenant)
            if row is not None:
                await session.delete(row)
                await session.flush()
            return await view(session, tenant)


def check_sight(caller: Caller, tenant: str) -> None:
    if tenant != caller.tenant and not caller.is_operator:
        raise NotFound(f"there is no tenant {tenant!r}", "tenant")


async def check_room(
    database: Database, session: AsyncSession, caller: Caller, needs: Capacity
) -> None:
    """The tenant may queue one more job, and one of this size. Raises QuotaExceeded or SpecError."""
    limits = await quota_of(session, caller.tenant)
    for noun, asked, most in (("CPUs", needs.cpus, limits.cpus), ("GPUs", needs.gpus, limits.gpus)):
        if most is not None and asked > most:
            raise SpecError(
                f"the job needs {asked:g} {noun}; tenant {caller.tenant!r} may hold {most:g}: "
                "ask for less, or have the quota raised",
                "resources",
            )
    if limits.queued_jobs is not None:
        await database.serialize_queue(session)  # two requests cannot take the last place
        await check_place(session, caller.tenant, limits)


async def check_place(session: AsyncSession, tenant: str, limits: Quota) -> None:
    """One more of the tenant's jobs may wait. Nobody else queues any meanwhile. Raises QuotaExceeded."""
    if limits.queued_jobs is None:
        return
    waiting = await queued_by(session, tenant)
    if waiting >= limits.queued_jobs:
        raise QuotaExceeded(
            f"tenant {tenant!r} has {waiting} jobs waiting and may have "
            f"{limits.queued_jobs}; wait until one starts, or cancel one"
        )


async def view(session: AsyncSession, tenant: str) -> QuotaView:
    row = await session.get(QuotaRow, tenant)
    limits = await quota_of(session, tenant)
    use = Use() if tenant == EVERYBODY else await use_of(session, tenant)
    return QuotaView(
        tenant=tenant,
        own=row is not None,
        use=UseView(**asdict(use)),
        updated_at=None if row is None else row.updated_at,
        **asdict(limits),
    )
