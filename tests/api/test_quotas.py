"""Quotas: who sets them, who sees them, and the jobs that may wait."""

from __future__ import annotations

import asyncio

import pytest

from api.store.quotas import Quota, quota_of
from tests.api.test_tenants import tenant
from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


async def put(world: World, name: str, **limits: float | None) -> JSON:
    answer = await world.client.put(f"/v1/quotas/{name}", json=limits)
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


async def test_a_tenants_own_limits_go_before_everybodys(world: World) -> None:
    async def read(name: str) -> Quota:
        async with world.services.database.read() as session:
            return await quota_of(session, name)

    assert await read("blue") == Quota()
    await put(world, "*", running_jobs=2, queued_jobs=5)
    await put(world, "blue", running_jobs=1, cpus=4.5, gpus=1)
    assert await read("red") == Quota(running_jobs=2, queued_jobs=5)
    assert await read("blue") == Quota(running_jobs=1, cpus=4.5, gpus=1.0)
    await put(world, "blue", cpus=8)
    assert await read("blue") == Quota(cpus=8.0)
    reset = (await world.client.delete("/v1/quotas/blue")).json()
    assert (reset["own"], reset["running_jobs"], reset["cpus"]) == (False, 2, None)


async def test_use_is_told_beside_the_limits(world: World) -> None:
    await put(world, "default", cpus=2)
    job_id, _ = await world.started()
    for _ in range(2):
        await world.submit(resources={"learner": {"cpus_per_worker": 2}})
    found = await world.get("/v1/quotas/default")
    assert (found["cpus"], found["gpus"], found["own"]) == (2.0, None, True)
    assert found["use"] == {"running_jobs": 1, "queued_jobs": 2, "cpus": 1.0, "gpus": 0.0}
    await world.ask(job_id, "cancel")
    await world.turn(2)
    everyone = {quota["tenant"]: quota for quota in (await world.get("/v1/quotas"))["data"]}
    assert set(everyone) == {"*", "default"}


async def test_the_operator_sets_what_a_tenants_admin_sees(world: World) -> None:
    await put(world, "blue", queued_jobs=3)
    async with tenant(world, "blue") as blue, tenant(world, "red", "write") as red:
        mine = (await blue.get("/v1/quotas")).json()["data"]
        assert [(quota["tenant"], quota["queued_jobs"]) for quota in mine] == [("blue", 3)]
        assert (await blue.put("/v1/quotas/blue", json={})).status_code == 403
        assert (await blue.delete("/v1/quotas/blue")).status_code == 403
        for verb in ("GET", "PUT", "DELETE"):
            answer = await blue.request(verb, "/v1/quotas/red", json={})
            assert answer.status_code == 404, verb
        assert (await red.get("/v1/quotas/red")).status_code == 403


async def test_one_more_than_may_wait_is_refused(world: World) -> None:
    await put(world, "blue", queued_jobs=2)
    async with tenant(world, "blue") as blue:
        answers = await asyncio.gather(
            *[blue.post("/v1/jobs", json=world.spec(seed=seed)) for seed in range(6)]
        )
        assert sorted(answer.status_code for answer in answers) == [201] * 2 + [429] * 4
        refused = next(answer for answer in answers if answer.status_code == 429).json()
        assert refused["code"] == "quota_exceeded"
        assert "2 jobs waiting and may have 2" in refused["detail"]
        await world.submit()  # another tenant's jobs do not count
        first = next(answer for answer in answers if answer.status_code == 201).json()
        assert (await blue.post(f"/v1/jobs/{first['id']}/cancel")).status_code == 200
        assert (await blue.post("/v1/jobs", json=world.spec())).status_code == 201


async def test_a_paused_job_waits_for_a_place_in_the_queue_again(world: World) -> None:
    await put(world, "default", queued_jobs=1)
    paused = (await world.submit())["id"]
    await world.ask(paused, "pause")
    other = (await world.submit())["id"]
    refused = await world.client.post(f"/v1/jobs/{paused}/resume")
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert (await world.job(paused))["status"] == "paused"
    await world.ask(other, "pause")
    answers = await asyncio.gather(
        *[world.client.post(f"/v1/jobs/{job_id}/resume") for job_id in (paused, other)]
    )
    assert sorted(answer.status_code for answer in answers) == [200, 429]
    again = paused if answers[0].status_code == 200 else other
    assert (await world.ask(again, "resume"))["status"] == "queued"  # it already waits


async def test_a_job_larger_than_the_quota_is_refused_at_once(world: World) -> None:
    await put(world, "default", cpus=1)
    await world.submit()
    large = world.spec(resources={"learner": {"cpus_per_worker": 2}})
    answer = await world.client.post("/v1/jobs", json=large)
    assert (answer.status_code, answer.json()["param"]) == (400, "resources")
    assert "needs 2 CPUs; tenant 'default' may hold 1" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("blue", {"cpus": -1}, "cpus"),
        ("blue", {"running_jobs": 1.5}, "running_jobs"),
        ("blue", {"memory": 1}, "memory"),
        ("Blue", {}, "tenant"),
        ("default", {"gpus": "many"}, "gpus"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_odd_quotas_are_refused(world: World, path: str, body: JSON, param: str) -> None:
    answer = await world.client.put(f"/v1/quotas/{path}", json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
