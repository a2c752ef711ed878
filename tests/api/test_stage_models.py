"""Stages' models by name, and what a finished model can be compared with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec.model import ScratchModel
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import World, running

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A real model without a chat template."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(["good film", "bad film"], 300)
    spec = ScratchModel(
        hidden_size=16, num_layers=1, num_heads=2, context_length=256, vocab_size=300
    )
    build_scratch(spec, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest_asyncio.fixture
async def here(tmp_path, tiny):
    small = tmp_path / "base" / "small"
    shutil.copytree(tiny, small)
    (small / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    settings = make_settings(tmp_path, "", base_models={"local": tmp_path / "base"})
    async with running(settings, FakeLauncher(cpus=8)) as world:
        yield world


async def done(world: World, tiny: Path, *stages: dict[str, Any], **changes: Any) -> str:
    """A job that succeeded, with every stage's model."""
    [first] = world.spec()["stages"]
    made = [{**first, **stage} for stage in stages]
    job_id, driver = await world.started(stages=made, **changes)
    folder = world.settings.folder(job_id)
    for stage in made:
        shutil.copytree(tiny, folder.stage_model(stage["name"]))
    shutil.copytree(tiny, folder.model)
    world.launcher.succeed(driver.submission_id)
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "succeeded"
    return job_id


async def model(world: World, model_id: str) -> Any:
    return await world.get(f"/v1/models/{model_id}")


async def test_a_stages_model_has_a_name_and_is_found_by_it(here, tiny):
    job_id = await done(here, tiny, {"name": "one"}, {"name": "two"})
    found = await model(here, job_id)
    assert [stage["model"] for stage in found["stages"]] == [f"{job_id}/one", f"{job_id}/two"]
    assert found["base"] == f"{job_id}/one" and found["chat"] is False
    caller = await here.services.keys.check(here.key)
    folders = here.services.models
    for stage in ("one", "two"):
        name = f"{job_id}/{stage}"
        expected = here.settings.folder(job_id).stage_model(stage)
        assert await folders.folder(caller, name) == expected
        alone = await model(here, name)
        assert (alone["id"], alone["path"], alone["stages"]) == (name, str(expected), [])
        assert alone["base"] == (f"{job_id}/one" if stage == "two" else None)
    for name in ("three", "../../control", "one/..", ".."):
        assert await folders.folder(caller, f"{job_id}/{name}") is None
    assert (await here.client.get(f"/v1/models/{job_id}/three")).status_code == 404


async def test_what_a_model_began_from(here, tiny, tmp_path):
    base = str(tmp_path / "base" / "small")
    first = await done(here, tiny, {"name": "one"}, model={"type": "folder", "path": base})
    assert (await model(here, first))["base"] == "local/small"
    left = str(here.settings.folder(first).model)
    second = await done(here, tiny, {"name": "one"}, model={"type": "folder", "path": left})
    assert (await model(here, second))["base"] == first
    stage = str(here.settings.folder(first).stage_model("one"))
    third = await done(here, tiny, {"name": "x", "model": {"type": "folder", "path": stage}})
    assert (await model(here, third))["base"] == f"{first}/one"
    assert (await model(here, await done(here, tiny, {"name": "one"})))[
        "base"
    ] is None  # from scratch


async def test_whether_a_model_is_spoken_to_in_messages(here):
    assert (await model(here, "local/small"))["chat"] is True
    listed = (await here.get("/v1/models"))["data"]
    assert [(view["id"], view["chat"]) for view in listed] == [("local/small", True)]
