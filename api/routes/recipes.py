"""`/v1/recipes`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.deps import ServicesDep, SignedIn
from api.schemas.base import Page
from api.schemas.recipes import PreparedRecipe, RecipeRequest, RecipeView

RecipeName = Annotated[
    str, Path(min_length=1, max_length=64, description="The recipe's name, as it is listed.")
]

router = APIRouter(prefix="/v1/recipes", tags=["recipes"], dependencies=[SignedIn])


@router.get("")
async def list_recipes(parts: ServicesDep) -> Page[RecipeView]:
    """Complete jobs on data that comes with the service."""
    found = await parts.recipes.every()
    return Page[RecipeView].of(found, len(found), lambda recipe: recipe.name)


@router.get("/{name}")
async def get_recipe(name: RecipeName, parts: ServicesDep) -> RecipeView:
    """One recipe."""
    return await parts.recipes.get(name)


@router.post("/{name}/prepare")
async def prepare_recipe(
    name: RecipeName, request: RecipeRequest, parts: ServicesDep
) -> PreparedRecipe:
    """Write the recipe's data into storage and answer with its job, ready for `POST /v1/jobs`."""
    return await parts.recipes.prepare(name, request.seed)
