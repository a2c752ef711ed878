"""`/v1/audit`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from api.deps import AdminDep, Limit, ServicesDep
from api.schemas.audit import AuditView
from api.schemas.base import Page
from api.service.audit import AuditFilter

router = APIRouter(prefix="/v1/audit", tags=["audit"])

Only = Annotated[str | None, Query(max_length=255, description="Only with this.")]


@router.get("")
async def list_audit_entries(
    caller: AdminDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only entries older than this one.")] = None,
    limit: Limit = 100,
    tenant: Only = None,
    caller_id: Only = None,
    action: Only = None,
    object_id: Only = None,
    since: Annotated[AwareDatetime | None, Query(description="Not older than this.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Older than this.")] = None,
) -> Page[AuditView]:
    """Who changed what, newest first: of the tenant; to the operator, of every tenant."""
    only = AuditFilter(
        tenant=tenant,
        caller_id=caller_id,
        action=action,
        object_id=object_id,
        since=since,
        until=until,
    )
    return await parts.audit.page(caller, after, limit, only)
