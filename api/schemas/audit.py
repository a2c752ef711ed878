"""What `/v1/audit` answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from api.schemas.base import View


class AuditView(View):
    """Who changed what, or tried to."""

    id: str
    object: Literal["audit_entry"] = "audit_entry"
    created_at: datetime
    tenant: str
    """The caller's."""
    caller_id: str
    """An API key, or `oidc-…`."""
    caller_name: str
    action: str
    """The operation's name in the OpenAPI document: `submit_job`, `revoke_key`, …"""
    object_id: str | None
    """What it was done to, or what it made."""
    method: str
    path: str
    address: str
    """Where the request came from; of an IPv6 address the network."""
    request_id: str
    status: int
    outcome: Literal["done", "refused", "failed"]
