"""`/v1/quotas` and `/v1/audit`."""

from __future__ import annotations

from datetime import datetime

from rlhf_service.client.call import Call, one, part
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records.admin import AuditEntry, Quota


def quotas() -> Call[Page[Quota]]:
    """Limits and present use: the tenant's; to the operator, every tenant's."""
    return Call("GET", "/v1/quotas", page(Quota))


def quota(tenant: str) -> Call[Quota]:
    """Limits and present use of one tenant."""
    return Call("GET", at(tenant), one(Quota))


def set_quota(
    tenant: str,
    *,
    running_jobs: int | None = None,
    queued_jobs: int | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
) -> Call[Quota]:
    """Set every limit of a tenant, or with `*` of those that have none of their own; None is none."""
    body = {"running_jobs": running_jobs, "queued_jobs": queued_jobs, "cpus": cpus, "gpus": gpus}
    return Call("PUT", at(tenant), one(Quota), json=body)


def reset_quota(tenant: str) -> Call[Quota]:
    """Forget the tenant's own limits: those of `*` hold."""
    return Call("DELETE", at(tenant), one(Quota))


def audit(
    *,
    limit: int = 100,
    after: str | None = None,
    tenant: str | None = None,
    caller_id: str | None = None,
    action: str | None = None,
    object_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Call[Page[AuditEntry]]:
    """A part of who changed what, newest first."""
    query = {
        "limit": limit,
        "after": after,
        "tenant": tenant,
        "caller_id": caller_id,
        "action": action,
        "object_id": object_id,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    return Call("GET", "/v1/audit", page(AuditEntry), query=query)


def at(tenant: str) -> str:
    return f"/v1/quotas/{part(tenant)}"
