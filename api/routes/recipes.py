"""`/v1/recipes`."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import ServicesDep, SignedIn
from api.schemas import Page, PreparedRecipe, RecipeRequest, RecipeView

router = APIRouter(prefix="/v1/recipes", tags=["recipes"], dependencies=[SignedIn])


@router.get("")
async def list_recipes(parts: ServicesDep) -> Page[RecipeView]:
    """Complete jobs on data that comes with the service."""
    found = await parts.recipes.every()
    return Page[RecipeView].of(found, len(found), lambda recipe: recipe.name)


@router.get("/{name}")
async def get_recipe(name: str, parts: ServicesDep) -> RecipeView:
    """One recipe."""
    return await parts.recipes.get(name)


@router.post("/{name}/prepare")
async def prepare_recipe(name: str, request: RecipeRequest, parts: ServicesDep) -> PreparedRecipe:
    """Write the recipe's data into storage and answer with its job, ready for `POST /v1/jobs`."""
    return await parts.recipes.prepare(name, request.seed)
