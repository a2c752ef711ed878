"""`/v1/keys`, and `/v1/me`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rlhf_service.client.call import Call, one, part
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records.admin import Caller, Key, NewKey

ME = Call("GET", "/v1/me", one(Caller))


def create(
    name: str,
    *,
    scopes: Sequence[str] | None = None,
    tenant: str | None = None,
    expires_at: datetime | None = None,
) -> Call[NewKey]:
    """A new API key. Its secret is told this once. Scopes are `read`, `write` and `admin`, all when
    absent; another tenant's keys are the operator's to make.
    """
    given = {
        "name": name,
        "scopes": None if scopes is None else list(scopes),
        "tenant": tenant,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    body = {field: value for field, value in given.items() if value is not None}
    return Call("POST", "/v1/keys", one(NewKey), json=body, repeatable=False)


def listed(tenant: str | None = None) -> Call[Page[Key]]:
    """The tenant's keys, revoked ones too; to the operator, every tenant's."""
    return Call("GET", "/v1/keys", page(Key), query={"tenant": tenant})


def revoke(key_id: str) -> Call[Key]:
    """From now on the key opens nothing."""
    return Call("DELETE", f"/v1/keys/{part(key_id)}", one(Key))


def rotate(key_id: str, grace_seconds: int = 0) -> Call[NewKey]:
    """A new key in place of this one, whose secret works for `grace_seconds` more."""
    path, body = f"/v1/keys/{part(key_id)}/rotate", {"grace_seconds": grace_seconds}
    return Call("POST", path, one(NewKey), json=body, repeatable=False)
