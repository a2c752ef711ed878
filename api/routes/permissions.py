"""`/v1/fine_tuning/checkpoints/{checkpoint}/permissions`, as the OpenAI API has it; for admins."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from api.deps import AdminDep, Limit, ServicesDep
from api.openai.objects import Deleted
from api.schemas.base import Page
from api.schemas.permissions import PermissionRequest, PermissionView

router = APIRouter(prefix="/v1/fine_tuning/checkpoints", tags=["openai"])

Checkpoint = Annotated[
    str, Path(min_length=1, max_length=640, description="A checkpoint's or finished model's name.")
]
PermissionId = Annotated[str, Path(min_length=1, max_length=64, description="The permission's id.")]


@router.post("/{checkpoint}/permissions")
async def create_checkpoint_permissions(
    checkpoint: Checkpoint, body: PermissionRequest, caller: AdminDep, parts: ServicesDep
) -> Page[PermissionView]:
    """Let other tenants of this service chat with a checkpoint, or with a finished model."""
    return await parts.permissions.create(caller, checkpoint, body.project_ids)


@router.get("/{checkpoint}/permissions")
async def list_checkpoint_permissions(
    checkpoint: Checkpoint,
    caller: AdminDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only those behind this one.")] = None,
    limit: Limit = 10,
    order: Annotated[
        Literal["ascending", "descending"], Query(description="By time of making.")
    ] = "descending",
    project_id: Annotated[str | None, Query(description="Only this tenant's.")] = None,
) -> Page[PermissionView]:
    """Who may use a checkpoint."""
    newest_first = order == "descending"
    return await parts.permissions.page(
        caller, checkpoint, after=after, limit=limit, newest_first=newest_first, tenant=project_id
    )


@router.delete("/{checkpoint}/permissions/{permission_id}")
async def delete_checkpoint_permission(
    checkpoint: Checkpoint, permission_id: PermissionId, caller: AdminDep, parts: ServicesDep
) -> Deleted:
    """Take a permission back."""
    return await parts.permissions.delete(caller, checkpoint, permission_id)
