"""Every route of the OpenAPI document: without a key, with a key that may only look, and with
another tenant's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.api.test_tenants import tenant, upload
from tests.api.tuning import model_folder
from tests.api.world import JSON, Driver, World, started, step

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

OPEN = {"/livez", "/readyz"}
"""Answer everyone."""
DRIVERS = "/v1/internal/"
"""Takes the tokens of attempts only."""
ADMIN = ("/v1/keys", "/v1/quotas", "/v1/audit", "/v1/fine_tuning/checkpoints", "/metrics")
SHARED = ("/v1/recipes/",)
"""What no tenant owns: an id there is everybody's."""
BODIES: dict[tuple[str, str], JSON] = {
    ("post", "/v1/internal/jobs/{job_id}/events"): {"events": []},
    ("put", "/v1/quotas/{tenant}"): {"cpus": 1},
    ("post", "/v1/keys/{key_id}/rotate"): {},
    ("post", "/v1/uploads/{upload_id}/complete"): {"part_ids": ["part_0"]},
    ("post", "/v1/fine_tuning/checkpoints/{checkpoint}/permissions"): {"project_ids": ["blue"]},
}
"""What a request with an id needs to be understood."""


def routes(schema: JSON) -> Iterator[tuple[str, str]]:
    for path, methods in schema["paths"].items():
        for method in methods:
            yield method, path


async def nobody(world: World, headers: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=world.app)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def owned(world: World) -> dict[str, str]:
    """One of everything that a path can name, all of the operator's."""
    hook = (await world.client.post("/v1/webhooks", json={"url": "https://a.example"})).json()
    file = await upload(world.client)
    scratch = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
    body = {"model": "scratch", "training_file": file["id"], "rlhf": {"model": scratch}}
    asked = await world.client.post("/v1/fine_tuning/jobs", json=body)
    assert asked.status_code == 201, asked.text
    job_id = asked.json()["id"]
    await world.turn()
    submission = f"{job_id}-a1"
    await Driver(world, submission).say(started(), step(1))
    model_folder(world.settings.folder(job_id).model)
    world.launcher.succeed(submission)
    await world.turn(2)
    announced = {"filename": "a", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
    upload_id = (await world.client.post("/v1/uploads", json=announced)).json()["id"]
    (key,) = (await world.get("/v1/keys"))["data"]
    deliveries = await world.get(f"/v1/webhooks/{hook['id']}/deliveries")
    grants = f"/v1/fine_tuning/checkpoints/{job_id}/permissions"
    granted = (await world.client.post(grants, json={"project_ids": ["red"]})).json()
    return {
        "checkpoint": job_id,
        "permission_id": granted["data"][0]["id"],
        "webhook_id": hook["id"],
        "delivery_id": deliveries["data"][0]["id"],
        "job_id": job_id,
        "fine_tuning_job_id": job_id,
        "file_id": file["id"],
        "upload_id": upload_id,
        "model_id": job_id,
        "key_id": key["id"],
        "path": "spec.json",
        "tenant": "default",
    }


async def test_without_a_key_nothing_answers_but_what_is_open(world: World) -> None:
    schema = await world.get("/openapi.json")
    walked = 0
    for headers in ({}, {"authorization": "Bearer rlhf_wrong"}, {"authorization": "Basic eA=="}):
        async with await nobody(world, headers) as client:
            for method, path in routes(schema):
                answer = await client.request(method, path, json={"events": []})
                if path in OPEN:
                    assert answer.status_code in (200, 503), path  # a busy machine is not ready
                    continue
                walked += 1
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
    assert walked >= 3 * 35


async def test_a_key_that_may_look_changes_nothing(world: World) -> None:
    schema, ids = await world.get("/openapi.json"), await owned(world)
    before = await everything(world)
    looked = 0
    async with tenant(world, "default", "read") as reader:
        for method, path in routes(schema):
            if path in OPEN or path.endswith("/stream"):
                continue
            named = path.replace(":path", "")
            for name, value in ids.items():
                named = named.replace(f"{{{name}}}", value)
            answer = await reader.request(method, named, json=BODIES.get((method, path), {}))
            if path.startswith(DRIVERS):
                assert answer.status_code == 401, path
            elif method != "get" or path.startswith(ADMIN):
                assert answer.status_code == 403, (method, path, answer.text)
                assert answer.json()["code"] == "forbidden"
            else:
                looked += 1
                assert answer.status_code not in (401, 403), (method, path, answer.text)
    assert looked >= 20
    assert await everything(world) == before


async def test_another_tenants_ids_are_not_found(world: World) -> None:
    schema, ids = await world.get("/openapi.json"), await owned(world)
    before = await everything(world)
    walked = 0
    async with tenant(world, "blue") as blue:
        for method, path in routes(schema):
            if "{" not in path or path.startswith((DRIVERS, *SHARED)):
                continue
            named = path.replace(":path", "")
            for name, value in ids.items():
                named = named.replace(f"{{{name}}}", value)
            assert "{" not in named, f"say which id {path} takes, or that it is shared"
            body = BODIES.get((method, path), {})
            answer = await blue.request(method, named, json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.json()["code"] == "not_found"
            walked += 1
            if method == "get" and not path.endswith(("/stream", ".html")):  # it is there
                mine = await world.client.get(named)
                assert mine.status_code == 200, (path, mine.text)
    assert walked >= 25
    assert await everything(world) == before


async def everything(world: World) -> str:
    """What there is, but for when keys were used."""
    lists = {
        path: (await world.get(path))["data"]
        for path in ("/v1/jobs", "/v1/files", "/v1/models", "/v1/quotas", "/v1/webhooks")
    }
    keys = [
        (key["id"], key["revoked_at"], key["expires_at"])
        for key in (await world.get("/v1/keys"))["data"]
        if key["name"] == "first"
    ]
    quotas = [quota for quota in lists.pop("/v1/quotas") if quota["tenant"] == "default"]
    return json.dumps([lists, keys, quotas], sort_keys=True)
