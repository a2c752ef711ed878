"""`/v1/keys`."""

from __future__ import annotations

from rlhf_service.client.call import Call, one, part
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records import Key, NewKey


def create(name: str) -> Call[NewKey]:
    """A new API key. Its secret is told this once."""
    return Call("POST", "/v1/keys", one(NewKey), json={"name": name}, repeatable=False)


def listed() -> Call[Page[Key]]:
    """Every key, revoked ones too."""
    return Call("GET", "/v1/keys", page(Key))


def revoke(key_id: str) -> Call[Key]:
    """From now on the key opens nothing."""
    return Call("DELETE", f"/v1/keys/{part(key_id)}", one(Key))
