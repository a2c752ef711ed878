"""The queue over REST: priorities, shares, quotas, making room, and jobs that wait for others."""

from __future__ import annotations

import pytest

from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import JSON, Driver, World, started, step

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
BOTH = {"resources": {"learner": {"num_workers": 2}}}  # the whole cluster of the tests


async def status(world: World, *job_ids: str) -> list[str]:
    return [(await world.job(job_id))["status"] for job_id in job_ids]


async def refused(world: World, **changes: object) -> JSON:
    answer = await world.client.post("/v1/jobs", json=world.spec(**changes))
    assert answer.status_code in (400, 422), answer.text
    found: JSON = answer.json()
    return found


async def other_tenant(world: World, name: str) -> dict[str, str]:
    key = await world.client.post("/v1/keys", json={"tenant": name, "scopes": ["write"]})
    return {"authorization": f"Bearer {key.json()['secret']}"}


async def test_the_urgent_go_first(world: World) -> None:
    running = (await world.submit(**BOTH))["id"]
    await world.turn()
    low = (await world.submit(**BOTH))["id"]
    high = (await world.submit(priority=5, **BOTH))["id"]
    await world.turn()
    assert (await world.job(low))["message"] == (
        f"waiting for its turn behind {high}: 2. of 2 in the queue"
    )
    assert running in (await world.job(high))["message"]
    world.launcher.succeed(f"{running}-a1")
    await world.turn(2)
    assert await status(world, low, high) == ["queued", "provisioning"]
    assert (await refused(world, priority=11))["param"] == "priority"


async def test_an_urgent_job_has_a_willing_one_make_room_and_that_comes_back(world: World) -> None:
    victim, driver = await world.started(preemptible=True, priority=-1, **BOTH)
    world.launcher.stubborn = True
    urgent = (await world.submit(priority=3, **BOTH))["id"]
    await world.turn()
    job = await world.job(victim)
    assert job["status"] == "pausing" and urgent in job["message"]
    assert victim in (await world.job(urgent))["message"]
    assert world.settings.folder(victim).stop_flag.exists(), "it was asked to checkpoint"
    world.launcher.stubborn = False
    await world.turn(2)
    assert await status(world, victim, urgent) == ["queued", "provisioning"]
    assert len(world.launcher.attempts) == 2
    world.launcher.succeed(f"{urgent}-a1")
    await world.turn(3)
    assert not world.settings.folder(victim).stop_flag.exists()
    again = Driver(world, f"{victim}-a2")
    await again.say(started(from_step=1), step(2))
    world.launcher.succeed(again.submission_id)
    await world.turn()
    assert await status(world, victim, urgent) == ["succeeded", "succeeded"]
    assert (await world.history(victim))[3:] == [
        "running", "pausing", "paused", "queued", "provisioning", "running", "succeeded",
    ]  # fmt: skip
    assert driver.submission_id == f"{victim}-a1"


@pytest.mark.parametrize(
    "changes", [{"priority": -1}, {"preemptible": True, "priority": 3}], ids=["unwilling", "equal"]
)
async def test_nobody_else_is_asked(world: World, changes: JSON) -> None:
    running, _ = await world.started(**BOTH, **changes)
    urgent = (await world.submit(priority=3, **BOTH))["id"]
    await world.turn(2)
    assert await status(world, running, urgent) == ["running", "queued"]


async def test_a_user_who_pauses_what_makes_room_keeps_it_paused(world: World) -> None:
    victim, _ = await world.started(preemptible=True, **BOTH)
    world.launcher.stubborn = True
    await world.submit(priority=3, **BOTH)
    await world.turn()
    assert (await world.ask(victim, "resume"))["status"] == "pausing"  # it will by itself
    await world.ask(victim, "pause")
    world.launcher.stubborn = False
    await world.turn(3)
    assert await status(world, victim) == ["paused"]


async def test_a_tenant_is_held_to_its_quota_and_others_pass(world: World) -> None:
    theirs = await other_tenant(world, "small")
    await world.client.put("/v1/quotas/small", json={"cpus": 1})
    ids = []
    for _ in range(2):
        answer = await world.client.post("/v1/jobs", json=world.spec(), headers=theirs)
        ids.append(answer.json()["id"])
    mine = (await world.submit())["id"]
    await world.turn()
    shown = [
        (await world.client.get(f"/v1/jobs/{job_id}", headers=theirs)).json() for job_id in ids
    ]
    assert [job["status"] for job in shown] == ["provisioning", "queued"]
    assert shown[1]["message"] == (
        "waiting for the quota of 1 CPUs of tenant 'small': 1 held, needs 1"
    )
    assert await status(world, mine) == ["provisioning"]


async def test_tenants_share(world: World, launcher: FakeLauncher) -> None:
    theirs = await other_tenant(world, "other")
    crowd = [(await world.submit())["id"] for _ in range(4)]
    answer = await world.client.post("/v1/jobs", json=world.spec(), headers=theirs)
    await world.turn()
    late = (await world.client.get(f"/v1/jobs/{answer.json()['id']}", headers=theirs)).json()
    assert late["status"] == "provisioning", "one each, though four came before"
    assert await status(world, *crowd) == ["provisioning", "queued", "queued", "queued"]


async def test_a_job_waits_for_those_it_comes_after(world: World) -> None:
    first = (await world.submit())["id"]
    second = (await world.submit(after=[first]))["id"]
    await world.turn()
    assert await status(world, first, second) == ["provisioning", "queued"]
    third = (await world.submit())["id"]
    await world.turn()
    assert await status(world, third) == ["provisioning"], "it holds up nobody"
    said = (await world.job(second))["message"]
    assert said == f"waiting for {first} (provisioning) to succeed"
    world.launcher.succeed(f"{first}-a1")
    await world.turn(2)
    assert await status(world, first, second) == ["succeeded", "provisioning"]


async def test_what_waits_for_a_failure_fails_in_a_chain(world: World) -> None:
    first = (await world.submit())["id"]
    second = (await world.submit(after=[first]))["id"]
    third = (await world.submit(after=[second, first]))["id"]
    await world.turn()
    await world.ask(first, "cancel")
    await world.turn(3)
    job = await world.job(second)
    assert (job["status"], job["reason"]) == ("failed", "dependency_failed")
    assert job["message"] == f"it was to run after {first}, which is cancelled"
    job = await world.job(third)
    assert (job["status"], job["reason"]) == ("failed", "dependency_failed")
    assert world.launcher.submits == [f"{first}-a1"]


async def test_what_cannot_be_waited_for(world: World) -> None:
    gone = (await world.submit())["id"]
    await world.ask(gone, "cancel")
    for named, says in (("job-none", "no job"), (gone, "never start")):
        answer = await refused(world, after=[named])
        assert answer["param"] == "after[0]" and says in answer["detail"]
    theirs = await other_tenant(world, "other")
    mine = (await world.submit())["id"]
    asked = await world.client.post("/v1/jobs", json=world.spec(after=[mine]), headers=theirs)
    assert asked.status_code == 400 and "no job" in asked.json()["detail"]
    assert len((await world.get("/v1/jobs"))["data"]) == 2, "nothing half made"


async def test_what_is_waited_for_is_not_deleted(world: World) -> None:
    first = (await world.submit())["id"]
    second = (await world.submit(after=[first]))["id"]
    await world.ask(first, "cancel")
    answer = await world.client.delete(f"/v1/jobs/{first}")
    assert answer.status_code == 409 and second in answer.json()["detail"]
    await world.turn()
    assert (await world.client.delete(f"/v1/jobs/{first}")).status_code == 200
    assert (await world.job(second))["reason"] == "dependency_failed"
