"""`/v1/keys`."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import ServicesDep, SignedIn
from api.schemas import KeyRequest, KeyView, NewKeyView, Page

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[SignedIn])


@router.post("", status_code=201)
async def create_key(request: KeyRequest, parts: ServicesDep) -> NewKeyView:
    """A new API key. Its secret is shown this once."""
    return await parts.keys.create(request.name)


@router.get("")
async def list_keys(parts: ServicesDep) -> Page[KeyView]:
    """Every key, revoked ones too."""
    found = await parts.keys.every()
    return Page[KeyView].of(found, len(found), lambda key: key.id)


@router.delete("/{key_id}")
async def revoke_key(key_id: str, parts: ServicesDep) -> KeyView:
    """From now on the key opens nothing."""
    return await parts.keys.revoke(key_id)
