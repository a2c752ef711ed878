"""A tenant lets another one chat with its checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from api.service.permissions import named
from rlhf_service.manifest import checkpoint_name
from tests.api.test_artefacts import save_checkpoint
from tests.api.test_tenants import tenant
from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


async def saved(world: World) -> tuple[str, str]:
    """A running job's checkpoint as a model; its name, and the job."""
    job_id, _ = await world.started()
    folder = world.settings.folder(job_id)
    save_checkpoint(folder.checkpoints, "sft", 3)
    made = folder.checkpoint_model(checkpoint_name("sft", 3))
    made.mkdir(parents=True)  # exported before
    return f"{job_id}:ckpt-sft-step-3", job_id


async def grant(client: httpx.AsyncClient, model: str, *tenants: str) -> httpx.Response:
    path = f"/v1/fine_tuning/checkpoints/{model}/permissions"
    return await client.post(path, json={"project_ids": tenants})


async def where(world: World, client: httpx.AsyncClient, model: str) -> Path | None:
    """The folder that a chat of that client would read."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    caller = await world.services.keys.check(key)
    own = await world.services.models.folder(caller, model)
    return own or await world.services.permissions.folder(caller, model)


async def test_only_whom_it_is_permitted_finds_a_checkpoint(world: World) -> None:
    model, job_id = await saved(world)
    expected = world.settings.folder(job_id).checkpoint_model("sft-step-000003")
    async with tenant(world, "blue") as blue, tenant(world, "red") as red:
        assert await where(world, world.client, model) == expected
        assert await where(world, blue, model) is None
        made = await grant(world.client, model, "blue", "blue", "green")
        assert made.status_code == 200, made.text
        assert [one["project_id"] for one in made.json()["data"]] == ["blue", "green"]
        assert await where(world, blue, model) == expected
        # Nothing else of the job, and nobody else.
        for other in (job_id, f"{job_id}:ckpt-sft-step-4", f"{job_id}/sft"):
            assert await where(world, blue, other) is None
        assert await where(world, red, model) is None
        assert (await blue.get(f"/v1/models/{model}")).status_code == 404
        assert (await grant(blue, model, "red")).status_code == 404
        path = f"/v1/fine_tuning/checkpoints/{model}/permissions"
        own = made.json()["data"][0]["id"]
        assert (await blue.delete(f"{path}/{own}")).status_code == 404
        assert (await world.client.delete(f"{path}/{own}")).json()["deleted"]
        assert await where(world, blue, model) is None
        assert (await world.client.delete(f"{path}/{own}")).status_code == 404


async def test_a_chat_with_a_foreign_model_asks_for_permission(world: World) -> None:
    model, _ = await saved(world)
    asked = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with tenant(world, "blue") as blue:
        answer = await blue.post("/v1/chat/completions", json=asked)
        assert (answer.status_code, answer.json()["param"]) == (404, "model")
        await grant(world.client, model, "blue")
        answer = await blue.post("/v1/chat/completions", json=asked)
        # The folder is found, and is not a whole model in this test.
        assert (answer.status_code, answer.json()["param"]) == (400, "model")


async def test_permissions_page_both_ways(world: World) -> None:
    model, _ = await saved(world)
    names = ["a", "b", "c"]
    assert (await grant(world.client, model, *names)).status_code == 200

    async def listed(**query: str | int) -> JSON:
        path = f"/v1/fine_tuning/checkpoints/{model}/permissions"
        return await world.get(path, **query)

    def projects(page: JSON) -> list[str]:
        return [one["project_id"] for one in page["data"]]

    first = await listed(limit=2)
    assert (projects(first), first["has_more"]) == (["c", "b"], True)
    rest = await listed(limit=2, after=first["last_id"])
    assert (projects(rest), rest["has_more"]) == (["a"], False)
    up = await listed(order="ascending", limit=1)
    assert projects(await listed(order="ascending", after=up["last_id"])) == ["b", "c"]
    assert projects(await listed(project_id="b")) == ["b"]
    path = f"/v1/fine_tuning/checkpoints/{model}/permissions"
    wrong = await world.client.get(path, params={"after": "cp_none"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "after")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_no_checkpoint_cannot_be_permitted(world: World) -> None:
    model, job_id = await saved(world)
    for other in (job_id, f"{job_id}:ckpt-sft-step-4", f"{job_id}:ckpt-x-step-3", "none"):
        answer = await grant(world.client, other, "blue")
        assert (answer.status_code, answer.json()["param"]) == (404, "model"), other
    for tenants in ([], ["Blue!"]):
        answer = await grant(world.client, model, *tenants)
        assert answer.status_code == 400 and answer.json()["param"].startswith("project_ids")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_checkpoint_is_a_model_by_its_name(world: World) -> None:
    model, job_id = await saved(world)
    found = await world.get(f"/v1/models/{model}")
    folder = world.settings.folder(job_id)
    assert (found["id"], found["owned_by"], found["chat"]) == (model, "rlhf-service", False)
    assert found["path"] == str(folder.checkpoint_model("sft-step-000003"))
    assert (await world.get("/v1/models"))["data"] == []
    # One that is not whole, or was deleted to make room, is none.
    (folder.checkpoints / "sft-step-000003" / "policy" / "state.pt").write_bytes(b"w")
    assert (await world.client.get(f"/v1/models/{model}")).status_code == 404
    shutil.rmtree(folder.checkpoints)
    assert (await world.client.get(f"/v1/models/{model}")).status_code == 404


async def test_every_spelling_of_a_name_means_the_same() -> None:
    for name in ("job-1", "ft:x:rlhf:a:job-1"):
        assert named(name) == ("job-1", "")
        for step in ("3", "0003"):
            assert named(f"{name}:ckpt-sft-step-{step}") == ("job-1", "sft-step-000003")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_permission_goes_with_its_job(world: World) -> None:
    model, job_id = await saved(world)
    await grant(world.client, model, "blue")
    await world.ask(job_id, "cancel")
    await world.turn(3)
    assert (await world.client.delete(f"/v1/jobs/{job_id}")).status_code == 200
    async with tenant(world, "blue") as blue:
        assert await where(world, blue, model) is None
    path = f"/v1/fine_tuning/checkpoints/{model}/permissions"
    assert (await world.client.get(path)).status_code == 404
