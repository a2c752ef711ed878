"""What a tenant may hold, and what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import JobRow, KeyRow, QuotaRow
from rlhf_service.job import HOLDING, JobStatus

EVERYBODY = "*"
"""Stands for the tenants that have no quota of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A tenant's limits; None: no limit."""

    running_jobs: int | None = None
    queued_jobs: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a tenant's jobs hold, or wait to hold, now."""

    running_jobs: int = 0
    """Jobs that hold resources of the cluster, or are about to."""
    queued_jobs: int = 0
    cpus: float = 0.0
    gpus: float = 0.0


async def quota_of(session: AsyncSession, tenant: str) -> Quota:
    """The tenant's own limits, else everybody's, else none."""
    rows = await session.scalars(select(QuotaRow).where(QuotaRow.tenant.in_((tenant, EVERYBODY))))
    found = {row.tenant: row for row in rows}
    row = found.get(tenant) or found.get(EVERYBODY)
    return Quota() if row is None else quota(row)


async def quotas_of(session: AsyncSession, tenants: Iterable[str]) -> dict[str, Quota]:
    """Tenant → its limits."""
    return {tenant: await quota_of(session, tenant) for tenant in tenants}


async def use_of(session: AsyncSession, tenant: str) -> Use:
    """What the tenant's jobs hold now."""
    sums = (
        func.count(),
        func.coalesce(func.sum(JobRow.cpus), 0.0),
        func.coalesce(func.sum(JobRow.gpus), 0.0),
    )
    holding = JobRow.tenant == tenant, JobRow.status.in_(sorted(HOLDING))
    jobs, cpus, gpus = (await session.execute(select(*sums).where(*holding))).one()
    return Use(
        running_jobs=jobs, queued_jobs=await queued_by(session, tenant), cpus=cpus, gpus=gpus
    )


async def queued_by(session: AsyncSession, tenant: str) -> int:
    """How many of the tenant's jobs wait for their turn."""
    waiting = (JobStatus.VALIDATING, JobStatus.QUEUED)
    query = select(func.count()).where(JobRow.tenant == tenant, JobRow.status.in_(waiting))
    return await session.scalar(query) or 0


async def known_tenants(session: AsyncSession) -> list[str]:
    """Whoever has a key, a job or a quota, by name."""
    found: set[str] = set()
    for column in (KeyRow.tenant, JobRow.tenant, QuotaRow.tenant):
        found.update(await session.scalars(select(column).distinct()))
    return sorted(found - {EVERYBODY})


def quota(row: QuotaRow) -> Quota:
    return Quota(
        running_jobs=row.running_jobs,
        queued_jobs=row.queued_jobs,
        cpus=row.cpus,
        gpus=row.gpus,
    )
