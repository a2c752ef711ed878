"""Jobs from jobs: tried again, cloned, deleted; where models come from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from api.merge_patch import merge_patch
from api.store.tables import GarbageRow
from rlhf_service.storage import JobFolder
from tests.api.test_artefacts import save_checkpoint
from tests.api.tuning import model_folder
from tests.api.world import JSON, World, step

pytestmark = pytest.mark.asyncio
sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def two_stages(world: World) -> list[JSON]:
    [stage] = world.spec()["stages"]
    return [stage, {**stage, "name": "more"}]


async def failed(world: World, **changes: object) -> tuple[str, JobFolder]:
    """A job that was cancelled in its second stage."""
    job_id, driver = await world.started(stages=await two_stages(world), **changes)
    folder = world.settings.folder(job_id)
    (folder.stage_model("sft")).mkdir(parents=True)
    (folder.stage_model("sft") / "weights").write_text("sft")
    (folder.stage("sft") / "done.json").write_text("{}")
    folder.tokenizer("more").mkdir(parents=True)
    (folder.tokenizer("more") / "tokenizer.json").write_text("{}")
    save_checkpoint(folder.checkpoints, "sft", 10)
    save_checkpoint(folder.checkpoints, "more", 2)
    save_checkpoint(folder.checkpoints, "more", 4)
    save_checkpoint(folder.checkpoints, "more", 6, manifest=False)
    await driver.say(step(4))
    await world.ask(job_id, "cancel")
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "cancelled"
    return job_id, folder


async def test_a_retry_goes_on_from_the_newest_checkpoint(world: World) -> None:
    job_id, old = await failed(world)
    headers = {"idempotency-key": "again"}
    answer = await world.client.post(f"/v1/jobs/{job_id}/retry", headers=headers)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["parent"] == {"id": job_id, "kind": "retry"}
    assert (made["status"], made["spec"]) == ("queued", (await world.job(job_id))["spec"])
    again = await world.client.post(f"/v1/jobs/{job_id}/retry", headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, made["id"])
    new = world.settings.folder(made["id"])
    assert sorted(path.name for path in new.checkpoints.iterdir()) == ["more-step-000004"]
    assert (new.stage_model("sft") / "weights").read_text() == "sft"
    assert (new.stage("sft") / "done.json").exists() and not (new.stage("more") / "model").exists()
    shared = "checkpoints/more-step-000004/policy/state.pt"
    assert os.path.samefile(old.root / shared, new.root / shared)
    own = "stages/more/tokenizer/tokenizer.json"
    assert not os.path.samefile(old.root / own, new.root / own)
    events = (await world.get(f"/v1/jobs/{made['id']}/events"))["data"]
    said = [e["event"]["message"] for e in events if e["event"]["type"] == "log"]
    assert said == [
        f"tries {job_id} again; stages sft are done; resumes from checkpoint more-step-000004"
    ]
    await world.turn()
    assert f"{made['id']}-a1" in world.launcher.attempts


@sqlite
async def test_a_retry_from_the_beginning_takes_nothing_over(world: World) -> None:
    job_id, _ = await failed(world)
    answer = await world.client.post(f"/v1/jobs/{job_id}/retry", json={"start": "beginning"})
    assert answer.status_code == 201
    assert not world.settings.folder(answer.json()["id"]).checkpoints.exists()
    refused = await world.client.post(f"/v1/jobs/{job_id}/retry", json={"start": "end"})
    assert refused.status_code == 422


@sqlite
async def test_only_what_stopped_short_is_retried(world: World) -> None:
    job_id, _ = await world.started()
    answer = await world.client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert (await world.client.post("/v1/jobs/job-none/retry")).status_code == 404
    jobs = list((world.settings.storage / "jobs").iterdir())
    # Its data is gone: the retry is refused and leaves no folder behind.
    gone, _ = await failed(world)
    (world.settings.storage / "data" / "rows.jsonl").unlink()
    answer = await world.client.post(f"/v1/jobs/{gone}/retry")
    assert answer.status_code == 400
    assert len(list((world.settings.storage / "jobs").iterdir())) == len(jobs) + 1


@sqlite
async def test_a_clone_is_the_job_with_changes(world: World) -> None:
    job_id = (await world.submit(labels={"a": "1", "b": "2"}))["id"]
    changes = {"name": "other", "seed": 7, "labels": {"a": None, "c": "3"}}
    answer = await world.client.post(f"/v1/jobs/{job_id}/clone", json={"changes": changes})
    assert answer.status_code == 201, answer.text
    made, old = answer.json(), await world.job(job_id)
    assert made["parent"] == {"id": job_id, "kind": "clone"}
    assert made["spec"] == {**old["spec"], "name": "other", "seed": 7, "labels": made["labels"]}
    assert made["labels"] == {"b": "2", "c": "3"}
    assert (await world.client.post(f"/v1/jobs/{job_id}/clone")).status_code == 201
    wrong = {"changes": {"seed": -1, "stagse": [], "model": {"hidden_size": None}}}
    refused = await world.client.post(f"/v1/jobs/{job_id}/clone", json=wrong)
    assert refused.status_code == 422
    found = {fault["field"]: fault["message"] for fault in refused.json()["errors"]}
    assert "did you mean 'stages'" in found["stagse"] and "seed" in found
    assert "model" not in found  # back to its default


@pytest.mark.parametrize(
    ("value", "patch", "wanted"),
    [  # of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
async def test_merge_patches(value: object, patch: object, wanted: object) -> None:
    assert merge_patch(value, patch) == wanted


async def test_a_deleted_job_leaves_nothing(world: World) -> None:
    job_id, folder = await failed(world, labels={"a": "b"})
    retried = (await world.client.post(f"/v1/jobs/{job_id}/retry")).json()["id"]
    gone = await world.client.delete(f"/v1/jobs/{job_id}")
    assert gone.json() == {"id": job_id, "object": "job", "deleted": True}
    for path in ("", "/events", "/metrics", "/artefacts"):
        assert (await world.client.get(f"/v1/jobs/{job_id}{path}")).status_code == 404
    assert [job["id"] for job in (await world.get("/v1/jobs"))["data"]] == [retried]
    assert folder.root.exists()
    assert await world.services.reconciler.garbage.collect() == 1
    assert not folder.root.exists()
    assert await world.services.reconciler.garbage.collect() == 0
    # The job that goes on from it has what it needs.
    kept = world.settings.folder(retried).checkpoints / "more-step-000004" / "policy" / "state.pt"
    assert kept.read_bytes() == b"w" * 100
    assert (await world.job(retried))["parent"] == {"id": job_id, "kind": "retry"}
    await world.turn()


@sqlite
async def test_garbage_outside_the_storage_is_left_alone(world: World, tmp_path: Path) -> None:
    from api.store.types import now

    kept = tmp_path / "kept"
    kept.mkdir()
    async with world.services.database.write() as session:
        session.add(GarbageRow(path=str(kept), created_at=now()))
    await world.services.reconciler.garbage.collect()
    assert kept.exists()


async def succeeded(world: World, **changes: object) -> str:
    job_id, _ = await world.started(**changes)
    model_folder(world.settings.folder(job_id).model)
    world.launcher.succeed(f"{job_id}-a1")
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "succeeded"
    return job_id


async def refusal(world: World, job_id: str) -> str:
    answer = await world.client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false"), answer.text
    return str(answer.json()["detail"])


@sqlite
async def test_what_is_needed_is_not_deleted(world: World) -> None:
    running, _ = await world.started()
    assert "cancel it first" in await refusal(world, running)
    await world.ask(running, "cancel")
    await world.turn(2)
    job_id = await succeeded(world)
    assert f"DELETE /v1/models/{job_id}" in await refusal(world, job_id)
    path = str(world.settings.folder(job_id).model)
    reader = (await world.submit(model={"type": "folder", "path": path}))["id"]
    refused = await world.client.delete(f"/v1/models/{job_id}")
    assert refused.status_code == 409 and reader in refused.json()["detail"]
    await world.ask(reader, "cancel")
    named = await world.client.post("/v1/models", json={"id": "kept", "path": path})
    assert named.status_code == 201, named.text
    refused = await world.client.delete(f"/v1/models/{job_id}")
    assert refused.status_code == 409 and "'kept' is registered" in refused.json()["detail"]
    assert (await world.client.delete("/v1/models/kept")).json()["deleted"]
    assert (await world.client.delete(f"/v1/models/{job_id}")).status_code == 200
    assert (await world.client.delete(f"/v1/jobs/{job_id}")).status_code == 200


async def test_lineage(world: World) -> None:
    first = await succeeded(world)
    path = str(world.settings.folder(first).model)
    second = await succeeded(world, model={"type": "folder", "path": path})
    rows = world.settings.storage / "data" / "rows.jsonl"
    told = await world.get(f"/v1/models/{second}/lineage")
    assert (told["job_id"], told["config"]["model"]["path"]) == (second, path)
    by_field = {item["field"]: item for item in told["inputs"]}
    data, model = by_field["stages[0].data.path"], by_field["model.path"]
    assert data["sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()
    assert (data["bytes"], data["is_there"]) == (rows.stat().st_size, True)
    assert (model["job_id"], model["sha256"], model["kind"]) == (first, None, "model")
    assert (await world.get(f"/v1/models/{first}/lineage"))["descendants"] == [second]
    rows.unlink()
    told = await world.get(f"/v1/models/{second}/lineage")
    assert not {i["field"]: i for i in told["inputs"]}["stages[0].data.path"]["is_there"]
    assert (await world.client.get("/v1/models/none/lineage")).status_code == 404


async def test_registered_models(world: World, tmp_path: Path) -> None:
    folder = world.settings.storage / "data" / "ours"
    model_folder(folder)
    asked = {"id": "ours", "path": str(folder)}
    made = await world.client.post("/v1/models", json=asked)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == "/v1/models/ours"
    assert (made.json()["owned_by"], made.json()["path"]) == ("registered", str(folder))
    assert await world.get("/v1/models/ours") == made.json()
    assert [m["id"] for m in (await world.get("/v1/models"))["data"]] == ["ours"]
    assert (await world.client.post("/v1/models", json=asked)).status_code == 409
    assert (await world.get("/v1/models/ours/lineage"))["job_id"] is None
    reader = (await world.submit(model={"type": "folder", "path": str(folder)}))["id"]
    refused = await world.client.delete("/v1/models/ours")
    assert refused.status_code == 409 and reader in refused.json()["detail"]
    await world.ask(reader, "cancel")
    assert (await world.client.delete("/v1/models/ours")).status_code == 200
    assert (await world.client.delete("/v1/models/ours")).status_code == 404
    assert (folder / "config.json").exists()
    model_folder(tmp_path / "outside")
    for path in ("relative", str(tmp_path / "outside"), str(tmp_path / "none"), "/etc"):
        answer = await world.client.post("/v1/models", json={"id": "x", "path": path})
        assert (answer.status_code, answer.json()["param"]) == (400, "path"), path
    for name in ("", "a/b", "../x", "-x", "x" * 65):
        answer = await world.client.post("/v1/models", json={**asked, "id": name})
        assert answer.status_code == 422, name
    (folder / "config.json").write_text(json.dumps([]))
    answer = await world.client.post("/v1/models", json=asked)
    assert answer.status_code == 400
