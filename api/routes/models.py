"""`/v1/models`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.deps import CallerDep, Limit, ServicesDep, SignedIn, TrailDep
from api.openai.objects import Deleted
from api.schemas.base import Page
from api.schemas.lineage import LineageView, RegisterModel
from api.schemas.models import ModelView

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[SignedIn])

# A base model's name may have slashes.
# It has no least length: a line feed alone arrives as nothing, which no model is called.
ModelId = Annotated[str, Path(max_length=640, description="The model's id.")]


@router.get("")
async def list_models(
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only models behind this one.")] = None,
    limit: Limit = 1000,
) -> Page[ModelView]:
    """Models of jobs that succeeded, newest first, then the base models."""
    return await parts.models.page(caller, after, limit)


@router.post("", status_code=201)
async def register_model(
    body: RegisterModel,
    caller: CallerDep,
    parts: ServicesDep,
    response: Response,
    trail: TrailDep,
) -> ModelView:
    """Give a model folder a name. Its files stay where they are, also when the name is deleted."""
    made = await parts.registry.register(caller, body)
    trail.object_id = made.id
    response.headers["location"] = f"/v1/models/{made.id}"
    return made


@router.get("/{model_id:path}/lineage")
async def get_lineage(model_id: ModelId, caller: CallerDep, parts: ServicesDep) -> LineageView:
    """Where a model comes from: its job, data with digests, parent models; and what came of it."""
    return await parts.lineage.get(caller, model_id)


@router.get("/{model_id:path}")
async def get_model(model_id: ModelId, caller: CallerDep, parts: ServicesDep) -> ModelView:
    """One model, by its id or its job's."""
    return await parts.models.get(caller, model_id)


@router.delete("/{model_id:path}")
async def delete_model(model_id: ModelId, caller: CallerDep, parts: ServicesDep) -> Deleted:
    """Delete a job's model, and those of its stages. 409 while another job reads it."""
    return await parts.models.delete(caller, model_id)
