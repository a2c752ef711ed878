"""`/v1/models`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import Limit, ServicesDep, SignedIn
from api.schemas import ModelView, Page

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[SignedIn])


@router.get("")
async def list_models(
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only models older than this one.")] = None,
    limit: Limit = 20,
) -> Page[ModelView]:
    """Models of jobs that succeeded, newest first."""
    return await parts.models.page(after, limit)


@router.get("/{model_id}")
async def get_model(model_id: str, parts: ServicesDep) -> ModelView:
    """One model; its id is the job's."""
    return await parts.models.get(model_id)
