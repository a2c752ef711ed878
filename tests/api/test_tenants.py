"""Tenants: what is one's is nothing to another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.store.database import Database
from api.store.migrate import migrate
from tests.api.served import CHAT
from tests.api.tuning import model_folder
from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def tenant(world: World, name: str, *scopes: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a new key of that tenant."""
    body = {"name": name, "tenant": name, "scopes": scopes or ["admin"]}
    made = await world.client.post("/v1/keys", json=body)
    assert made.status_code == 201, made.text
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


async def upload(client: httpx.AsyncClient) -> JSON:
    """A file whose rows say the same to a job and to a fine-tuning job."""
    rows = json.dumps({"prompt": "2+2=", "completion": "4", "messages": CHAT}) + "\n"
    answer = await client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", rows)}
    )
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


async def listed(client: httpx.AsyncClient, path: str) -> list[str]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["data"]]


async def test_lists_show_only_the_tenants_own(world: World) -> None:
    async with tenant(world, "blue") as blue:
        mine, theirs = await world.submit(), (await blue.post("/v1/jobs", json=world.spec())).json()
        my_file, their_file = await upload(world.client), await upload(blue)
        assert await listed(world.client, "/v1/jobs") == [mine["id"]]
        assert await listed(blue, "/v1/jobs") == [theirs["id"]]
        assert await listed(world.client, "/v1/files") == [my_file["id"]]
        assert await listed(blue, "/v1/files") == [their_file["id"]]
        for path in ("/v1/jobs", "/v1/files"):
            foreign = mine["id"] if path == "/v1/jobs" else my_file["id"]
            answer = await blue.get(path, params={"after": foreign})
            assert (answer.status_code, answer.json()["param"]) == (400, "after")


async def test_an_idempotency_key_is_its_tenants(world: World) -> None:
    headers = {"idempotency-key": "nightly"}
    async with tenant(world, "blue") as blue:
        mine = await world.client.post("/v1/jobs", json=world.spec(), headers=headers)
        theirs = await blue.post("/v1/jobs", json=world.spec(seed=7), headers=headers)
        assert (mine.status_code, theirs.status_code) == (201, 201)
        again = await blue.post("/v1/jobs", json=world.spec(seed=7), headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, theirs.json()["id"])


async def test_a_foreign_path_is_refused_as_if_it_did_not_exist(world: World) -> None:
    file = await upload(world.client)
    job_id = (await world.submit())["id"]
    folder = world.settings.folder(job_id)
    model_folder(folder.model)
    (folder.root / "rows.jsonl").write_text(Path(file["path"]).read_text())

    def data(path: str) -> JSON:
        spec = world.spec()
        spec["stages"][0]["data"]["path"] = path
        return spec

    def model(path: str) -> JSON:
        return world.spec(model={"type": "folder", "path": path})

    def tokenizer(path: str) -> JSON:
        shape = {"type": "scratch", "hidden_size": 8, "num_heads": 1, "tokenizer": path}
        return world.spec(model=shape)

    async def said(client: httpx.AsyncClient, spec: JSON, path: str) -> tuple[Any, ...]:
        answer = await client.post("/v1/jobs", json=spec)
        checked = await client.post("/v1/specs/check", json={"text": json.dumps(spec)})
        faults = [fault["message"] for fault in checked.json()["faults"]]
        body = answer.json()
        return (
            answer.status_code,
            body.get("param"),
            body.get("detail", "").replace(path, "P"),
            [text.replace(path, "P") for text in faults],
        )

    uploads, jobs = world.settings.uploads, world.settings.storage / "jobs"
    cases = (
        (data, file["path"], str(uploads / f"file-{'0' * 24}.jsonl")),
        (data, str(folder.root / "rows.jsonl"), str(jobs / "job-none" / "rows.jsonl")),
        (model, str(folder.model), str(jobs / "job-none" / "model")),
        (tokenizer, str(folder.model), str(jobs / "job-none" / "model")),
    )
    async with tenant(world, "blue") as blue:
        link = world.settings.storage / "data" / "link.jsonl"
        link.symlink_to(file["path"])
        assert (await said(blue, data(str(link)), str(link)))[0] == 400
        for spec_of, theirs, nobodys in cases:
            assert (await said(world.client, spec_of(theirs), theirs))[0] == 201, theirs
            refused = await said(blue, spec_of(theirs), theirs)
            assert refused[0] == 400 and refused[3]
            assert refused == await said(blue, spec_of(nobodys), nobodys)
        assert await listed(blue, "/v1/jobs") == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_root_around_the_storage_opens_nothing_in_it(world: World) -> None:
    settings = world.settings.model_copy(update={"data_roots": (world.settings.storage.parent,)})
    world.services.jobs.settings = world.services.jobs.territory.settings = settings
    storage = settings.storage
    for path in (storage, storage / "control" / "control.db", storage / "jobs", storage / "data"):
        spec = world.spec(model={"type": "folder", "path": str(path)})
        answer = await world.client.post("/v1/jobs", json=spec)
        assert (answer.status_code, answer.json()["param"]) == (400, "model.path"), path
        assert "outside" in answer.json()["detail"]


async def test_foreign_files_and_models_cannot_be_tuned_or_asked(world: World) -> None:
    file = await upload(world.client)
    job_id, driver = await world.started()
    model_folder(world.settings.folder(job_id).model)
    world.launcher.succeed(driver.submission_id)
    await world.turn(2)
    assert job_id in await listed(world.client, "/v1/models")
    async with tenant(world, "blue") as blue:
        body = {"model": "scratch", "training_file": file["id"]}
        answer = await blue.post("/v1/fine_tuning/jobs", json=body)
        assert (answer.status_code, answer.json()["param"]) == (400, "training_file")
        body = {"model": job_id, "training_file": (await upload(blue))["id"]}
        answer = await blue.post("/v1/fine_tuning/jobs", json=body)
        assert (answer.status_code, answer.json()["param"]) == (400, "model")
        body = {"model": job_id, "messages": [{"role": "user", "content": "hi"}]}
        answer = await blue.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["param"]) == (404, "model")
        assert (await blue.delete(f"/v1/models/{job_id}")).status_code == 404
        assert job_id not in await listed(blue, "/v1/models")


async def test_what_there_was_before_tenants_is_the_operators(empty_database_url: str) -> None:
    database = Database(empty_database_url.replace("postgresql:", "postgresql+asyncpg:"))
    moment = "'2026-01-01 00:00:00'"
    await migrate(database, "0002")
    async with database.write() as session:
        for statement in (
            "INSERT INTO jobs (id, name, spec, cpus, gpus, status, message, version, attempt, "
            "deaths, last_seq, control_seq, step, steps, created_at, updated_at) VALUES ('job-1', "
            f"'old', '{{}}', 1, 0, 'queued', '', 1, 0, 0, 0, 0, 0, 0, {moment}, {moment})",
            "INSERT INTO labels (job_id, key, value) VALUES ('job-1', 'a', 'b')",
            "INSERT INTO idempotency_keys (key, body_sha256, job_id, created_at) "
            f"VALUES ('k', 'x', 'job-1', {moment})",
            "INSERT INTO api_keys (id, name, prefix, sha256, scopes, created_at) "
            f"VALUES ('key-1', 'first', 'rlhf_', 'x', 'read write admin', {moment})",
        ):
            await session.execute(text(statement))
    await migrate(database)
    async with database.read() as session:
        for table in ("jobs", "idempotency_keys", "api_keys"):
            found = await session.scalars(text(f"SELECT tenant FROM {table}"))
            assert list(found) == ["default"], table
        assert await session.scalar(text("SELECT count(*) FROM labels")) == 1
    await database.close()
