"""The recipes, and one's job with its data written where jobs may read it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from api.schemas.recipes import PreparedRecipe, RecipeView
from api.service.child import Broke, answer_of
from api.service.faults import BadParameter, Fault, NotFound
from api.settings import Settings
from rlhf_service.spec import JobSpec
from rlhf_service.spec.brief import brief_yaml

log = logging.getLogger("rlhf.api")

PREPARE_SECONDS = 300.0
"""For the slowest recipe, which unpacks a model."""


class PreparationFailed(Fault):
    """The recipe's process broke or took too long."""

    status, code = 503, "recipe_failed"


class Recipes:
    """What the routes under `/v1/recipes` call. One preparation at a time."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.storage / "data" / "recipes"
        self._one = asyncio.Lock()

    async def every(self) -> list[RecipeView]:
        titles = await asyncio.to_thread(known)
        return [RecipeView(name=name, title=title) for name, title in titles.items()]

    async def get(self, name: str) -> RecipeView:
        titles = await asyncio.to_thread(known)
        if name not in titles:
            raise NotFound(f"there is no recipe {name!r}; there are {', '.join(titles)}", "name")
        return RecipeView(name=name, title=titles[name])

    async def prepare(self, name: str, seed: int) -> PreparedRecipe:
        """Write the data, the same for every seed, and say the job. Nothing is submitted."""
        recipe = await self.get(name)
        async with self._one:
            answer = await self._run(name, seed)
        if "fault" in answer:
            raise BadParameter(str(answer["fault"]), "name")
        spec = JobSpec.model_validate(answer["spec"])
        text = f"# {recipe.title}\n{brief_yaml(spec)}"
        return PreparedRecipe(name=name, title=recipe.title, seed=seed, spec=spec, text=text)

    async def _run(self, name: str, seed: int) -> dict[str, object]:
        arguments = ("rlhf_service.recipes.prepare", name, str(self._folder / name), str(seed))
        try:
            return await answer_of(*arguments, seconds=PREPARE_SECONDS)
        except TimeoutError:
            raise PreparationFailed(
                f"preparing took longer than {PREPARE_SECONDS:.0f} s; run `rlhf run {name}` instead"
            ) from None
        except Broke as fault:
            log.error("recipe %s failed: %s", name, fault)
            raise PreparationFailed(f"recipe {name!r} broke; the server's log says how") from None


def known() -> Mapping[str, str]:
    """Name → title."""
    # Brings in numpy; paid for by the first who asks.
    from rlhf_service.recipes.catalogue import RECIPES

    return {name: recipe.title for name, recipe in RECIPES.items()}
