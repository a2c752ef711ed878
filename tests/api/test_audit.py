"""The audit log: who changed what, or tried to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.service.audit import Audit
from tests.api.test_tenants import tenant, upload
from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


async def entries(world: World, **params: Any) -> list[JSON]:
    """Oldest first."""
    found: list[JSON] = (await world.get("/v1/audit", **params))["data"]
    return found[::-1]


async def test_changes_are_written_down_with_who_what_where_and_how_it_ended(world: World) -> None:
    headers = {"x-request-id": "abc-1"}
    made = await world.client.post("/v1/jobs", json=world.spec(), headers=headers)
    job_id = made.json()["id"]
    await world.ask(job_id, "cancel")
    assert (await world.client.post(f"/v1/jobs/{job_id}/resume")).status_code == 409
    assert (await world.client.post("/v1/jobs/job-none/cancel")).status_code == 404
    file_id = (await upload(world.client))["id"]
    await world.client.delete(f"/v1/files/{file_id}")
    key = (await world.client.post("/v1/keys", json={"name": "ci"})).json()
    await world.client.delete(f"/v1/keys/{key['id']}")
    await world.client.put("/v1/quotas/blue", json={"cpus": 1})
    found = await entries(world)
    assert [(e["action"], e["object_id"], e["status"], e["outcome"]) for e in found] == [
        ("submit_job", job_id, 201, "done"),
        ("cancel_job", job_id, 200, "done"),
        ("resume_job", job_id, 409, "refused"),
        ("cancel_job", "job-none", 404, "refused"),
        ("upload_file", file_id, 200, "done"),
        ("delete_file", file_id, 200, "done"),
        ("create_key", key["id"], 201, "done"),
        ("revoke_key", key["id"], 200, "done"),
        ("set_quota", "blue", 200, "done"),
    ]
    first = found[0]
    (mine, _) = (await world.get("/v1/keys"))["data"]
    assert (first["caller_id"], first["caller_name"]) == (mine["id"], "first")
    assert (first["tenant"], first["request_id"]) == ("default", "abc-1")
    assert (first["method"], first["path"], first["address"]) == ("POST", "/v1/jobs", "127.0.0.1")
    age = datetime.now(UTC) - datetime.fromisoformat(first["created_at"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert key["secret"] not in str(found)


async def test_looks_and_strangers_leave_no_entry(world: World) -> None:
    await world.get("/v1/jobs")
    wrong = {"authorization": "Bearer rlhf_wrong"}
    assert (await world.client.post("/v1/jobs", json={}, headers=wrong)).status_code == 401
    assert await entries(world) == []
    # One with a key that does not suffice is somebody.
    async with tenant(world, "blue", "read") as reader:
        assert (await reader.post("/v1/jobs", json=world.spec())).status_code == 403
    found = (await entries(world))[-1]
    assert (found["tenant"], found["action"], found["outcome"]) == ("blue", "submit_job", "refused")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_fault_of_ours_is_written_down_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(type(world.services.jobs), "cancel", broken)
    assert (await world.client.post("/v1/jobs/job-1/cancel")).status_code == 500
    (found,) = await entries(world)
    assert (found["action"], found["status"], found["outcome"]) == ("cancel_job", 500, "failed")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_change_is_told_that_could_not_be_written_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Audit, "write", full)
    answer = await world.client.post("/v1/jobs", json=world.spec())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


async def test_pages_filters_and_tenants(world: World) -> None:
    async with tenant(world, "blue") as blue:
        theirs = (await blue.post("/v1/jobs", json=world.spec())).json()["id"]
        ids = [(await world.submit())["id"] for _ in range(3)]
        first = await world.get("/v1/audit", limit=2, action="submit_job")
        assert [e["object_id"] for e in first["data"]] == [ids[2], ids[1]]
        assert first["has_more"]
        rest = await world.get("/v1/audit", after=first["last_id"], action="submit_job")
        assert [e["object_id"] for e in rest["data"]] == [ids[0], theirs]
        only = await entries(world, tenant="blue")
        assert [e["action"] for e in only] == ["submit_job"]
        assert await entries(world, object_id=ids[0], caller_id=only[0]["caller_id"]) == []
        moment = rest["data"][0]["created_at"]
        assert [e["object_id"] for e in await entries(world, since=moment)] == ids
        assert ids[0] not in [e["object_id"] for e in await entries(world, until=moment)]
        mine = (await blue.get("/v1/audit")).json()["data"]
        assert [e["object_id"] for e in mine] == [theirs]
        assert (await blue.get("/v1/audit", params={"tenant": "default"})).json()["data"] == []
    for params in ({"after": "x"}, {"since": "yesterday"}, {"limit": "0"}):
        answer = await world.client.get("/v1/audit", params=params)
        assert answer.status_code in (400, 422)
        assert answer.json()["param"] == next(iter(params))


async def test_entries_cannot_be_changed_and_go_when_they_are_old(world: World) -> None:
    await world.submit()
    with pytest.raises(DBAPIError, match="cannot be changed"):
        async with world.services.database.write() as session:
            await session.execute(text("UPDATE audit SET caller_id = 'somebody else'"))
    (entry,) = await entries(world)
    assert entry["caller_id"].startswith("key-")
    old = datetime.now(UTC) - timedelta(days=world.settings.audit_days, minutes=1)
    async with world.services.database.write() as session:
        await session.execute(
            text(
                "INSERT INTO audit (created_at, tenant, caller_id, caller_name, action, method, "
                "path, address, request_id, status) VALUES (:at, 'default', 'key-old', 'x', "
                "'submit_job', 'POST', '/', '-', '-', 201)"
            ).bindparams(at=old if not world.services.database.is_sqlite else str(old)[:26])
        )
    assert len(await entries(world)) == 2
    world.services.audit._tidied = None
    await world.submit()
    assert "key-old" not in [e["caller_id"] for e in await entries(world)]
    assert len(await entries(world)) == 2
