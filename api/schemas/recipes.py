"""What `/v1/recipes` takes and answers with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import View
from rlhf_service.spec import JobSpec


class RecipeView(View):
    """A complete job on real data."""

    name: str
    object: Literal["recipe"] = "recipe"
    title: str
    """Data and stages in one line."""


class RecipeRequest(BaseModel):
    """How to prepare a recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides everything random."""


class PreparedRecipe(RecipeView):
    """A recipe whose data is written."""

    seed: int
    spec: JobSpec
    text: str
    """The same job as short YAML."""
