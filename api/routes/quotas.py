"""`/v1/quotas`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import AdminDep, ServicesDep
from api.schemas.base import Page
from api.schemas.quotas import QuotaRequest, QuotaView

router = APIRouter(prefix="/v1/quotas", tags=["quotas"])

Tenant = Annotated[
    str,
    Path(
        pattern=r"^(\*|[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)$",
        description="A tenant, or `*` for those that have no quota of their own.",
    ),
]


@router.get("")
async def list_quotas(caller: AdminDep, parts: ServicesDep) -> Page[QuotaView]:
    """Limits and present use: the tenant's; to the operator, every tenant's."""
    found = await parts.quotas.every(caller)
    return Page[QuotaView].of(found, len(found), lambda quota: quota.tenant)


@router.get("/{tenant}")
async def get_quota(tenant: Tenant, caller: AdminDep, parts: ServicesDep) -> QuotaView:
    """Limits and present use of one tenant."""
    return await parts.quotas.get(caller, tenant)


@router.put("/{tenant}")
async def set_quota(
    tenant: Tenant, request: QuotaRequest, caller: AdminDep, parts: ServicesDep
) -> QuotaView:
    """Set every limit of a tenant. Only for the operator."""
    return await parts.quotas.set(caller, tenant, request)


@router.delete("/{tenant}")
async def reset_quota(tenant: Tenant, caller: AdminDep, parts: ServicesDep) -> QuotaView:
    """Forget the tenant's own limits: those of `*` hold. Only for the operator."""
    return await parts.quotas.reset(caller, tenant)
