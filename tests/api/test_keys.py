"""Keys: scopes, tenants, expiry, rotation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from api.store.tables import KeyRow
from tests.api.test_tenants import tenant
from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


async def made(client: httpx.AsyncClient, **body: Any) -> JSON:
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    found: JSON = answer.json()
    return found


async def status(world: World, secret: str, method: str = "GET", path: str = "/v1/jobs") -> int:
    headers = {"authorization": f"Bearer {secret}"}
    body = world.spec() if method == "POST" else None
    return (await world.client.request(method, path, headers=headers, json=body)).status_code


@pytest.mark.parametrize(
    ("scopes", "held", "reads", "writes", "administers"),
    [
        (["read"], ["read"], 200, 403, 403),
        (["write"], ["read", "write"], 200, 201, 403),
        (["admin"], ["read", "write", "admin"], 200, 201, 200),
        (None, ["read", "write", "admin"], 200, 201, 200),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_each_scope_includes_those_before_it(
    world: World,
    scopes: list[str] | None,
    held: list[str],
    reads: int,
    writes: int,
    administers: int,
) -> None:
    key = await made(world.client, name="k", **({} if scopes is None else {"scopes": scopes}))
    assert key["scopes"] == held
    assert await status(world, key["secret"]) == reads
    assert await status(world, key["secret"], "POST") == writes
    assert await status(world, key["secret"], "GET", "/v1/keys") == administers
    mine = {"authorization": f"Bearer {key['secret']}"}
    me = (await world.client.get("/v1/me", headers=mine)).json()
    assert (me["id"], me["tenant"], me["scopes"]) == (key["id"], "default", held)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_refusal_names_the_scope_that_is_needed(world: World) -> None:
    key = await made(world.client, scopes=["read"])
    headers = {"authorization": f"Bearer {key['secret']}"}
    answer = await world.client.post("/v1/jobs", json=world.spec(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "'write'" in answer.json()["detail"] and "yours has: read" in answer.json()["detail"]
    assert (await world.get("/v1/jobs"))["data"] == []


async def test_a_tenants_admin_manages_its_own_keys_only(world: World) -> None:
    async with tenant(world, "blue") as blue:
        mine = await made(blue, name="mine", scopes=["write"])
        assert mine["tenant"] == "blue"
        refused = await blue.post("/v1/keys", json={"tenant": "default"})
        assert (refused.status_code, refused.json()["param"]) == (403, "tenant")
        assert [key["name"] for key in (await blue.get("/v1/keys")).json()["data"]] == [
            "blue",
            "mine",
        ]
        everyone = await world.get("/v1/keys")
        assert [key["tenant"] for key in everyone["data"]] == ["default", "blue", "blue"]
        assert len((await world.get("/v1/keys", tenant="blue"))["data"]) == 2
        assert (await blue.get("/v1/keys", params={"tenant": "default"})).json()["data"] == []
        first = everyone["data"][0]["id"]
        assert (await blue.delete(f"/v1/keys/{first}")).status_code == 404
        assert (await blue.post(f"/v1/keys/{first}/rotate")).status_code == 404
        assert (await world.client.delete(f"/v1/keys/{mine['id']}")).status_code == 200
        # Its last key may go: the operator can make another.
        last = (await blue.get("/v1/keys")).json()["data"][0]["id"]
        assert (await blue.delete(f"/v1/keys/{last}")).status_code == 200
        assert (await blue.get("/v1/jobs")).status_code == 401


async def test_a_key_expires(world: World) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = await made(world.client, expires_at=soon.isoformat())
    assert await status(world, key["secret"]) == 200
    async with world.services.database.write() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(KeyRow).where(KeyRow.id == key["id"]).values(expires_at=past))
    assert await status(world, key["secret"]) == 401
    for when in (past.isoformat(), "2026-01-01T00:00:00", "soon"):
        answer = await world.client.post("/v1/keys", json={"expires_at": when})
        assert answer.status_code in (400, 422), when
        assert answer.json()["param"] == "expires_at"


async def test_rotation_replaces_a_key_at_once_or_after_a_grace(world: World) -> None:
    old = await made(world.client, name="ci", scopes=["write"], tenant="blue")
    answer = await world.client.post(f"/v1/keys/{old['id']}/rotate")
    new = answer.json()
    assert answer.status_code == 201
    assert [new[f] for f in ("name", "scopes", "tenant")] == ["ci", ["read", "write"], "blue"]
    assert new["id"] != old["id"] and new["secret"] != old["secret"]
    assert (await status(world, old["secret"]), await status(world, new["secret"])) == (401, 200)
    again = await world.client.post(f"/v1/keys/{old['id']}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    body = {"grace_seconds": 600}
    newest = (await world.client.post(f"/v1/keys/{new['id']}/rotate", json=body)).json()
    assert (await status(world, new["secret"]), await status(world, newest["secret"])) == (200, 200)
    listed = {key["id"]: key for key in (await world.get("/v1/keys"))["data"]}
    left = datetime.fromisoformat(listed[new["id"]]["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=300) < left <= timedelta(seconds=600)
    assert listed[newest["id"]]["expires_at"] is None


async def test_the_use_of_a_key_is_noted(world: World) -> None:
    key = await made(world.client, name="k")
    assert key["last_used_at"] is None
    await status(world, key["secret"])
    listed = {key["id"]: key for key in (await world.get("/v1/keys"))["data"]}
    used = datetime.fromisoformat(listed[key["id"]]["last_used_at"])
    assert abs(datetime.now(UTC) - used) < timedelta(minutes=2)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_someone_can_always_manage_the_service(world: World) -> None:
    (first,) = (await world.get("/v1/keys"))["data"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for body in (
        {"scopes": ["write"]},
        {"tenant": "blue", "scopes": ["admin"]},
        {"scopes": ["admin"], "expires_at": soon},
    ):
        await made(world.client, **body)
        refused = await world.client.delete(f"/v1/keys/{first['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict"), body
    await made(world.client, scopes=["admin"])
    assert (await world.client.delete(f"/v1/keys/{first['id']}")).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"tenant": "Blue"}, "tenant"),
        ({"tenant": "a/../b"}, "tenant"),
        ({"name": ""}, "name"),
        ({"nmae": "x"}, "nmae"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_odd_keys_are_refused(world: World, body: JSON, param: str) -> None:
    answer = await world.client.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
