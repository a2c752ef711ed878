"""`/v1/keys`, and `/v1/me`: who the caller is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import AdminDep, CallerDep, ServicesDep, TrailDep
from api.schemas.base import Page
from api.schemas.keys import CallerView, KeyRequest, KeyView, NewKeyView, RotateRequest

KeyId = Annotated[str, Path(min_length=1, max_length=64, description="The key's id.")]

router = APIRouter(prefix="/v1", tags=["keys"])


@router.get("/me")
async def get_caller(caller: CallerDep) -> CallerView:
    """Tenant and scopes of the key or token that the request shows."""
    return CallerView(
        id=caller.id, name=caller.name, tenant=caller.tenant, scopes=list(caller.scopes)
    )


@router.post("/keys", status_code=201)
async def create_key(
    request: KeyRequest, caller: AdminDep, parts: ServicesDep, trail: TrailDep
) -> NewKeyView:
    """A new API key. Its secret is shown this once."""
    made = await parts.keys.create(caller, request)
    trail.object_id = made.id
    return made


@router.get("/keys")
async def list_keys(
    caller: AdminDep,
    parts: ServicesDep,
    tenant: Annotated[str | None, Query(description="Only of this tenant.")] = None,
) -> Page[KeyView]:
    """The tenant's keys, revoked ones too; to the operator, every tenant's."""
    found = await parts.keys.every(caller, tenant)
    return Page[KeyView].of(found, len(found), lambda key: key.id)


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: KeyId, caller: AdminDep, parts: ServicesDep) -> KeyView:
    """From now on the key opens nothing."""
    return await parts.keys.revoke(caller, key_id)


@router.post("/keys/{key_id}/rotate", status_code=201)
async def rotate_key(
    key_id: KeyId, caller: AdminDep, parts: ServicesDep, request: RotateRequest | None = None
) -> NewKeyView:
    """A new key in place of this one, which ends now or after `grace_seconds`."""
    return await parts.keys.rotate(caller, key_id, request or RotateRequest())
