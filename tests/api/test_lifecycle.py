"""A job from its submission to its completion record, and what its driver says on the way."""

from __future__ import annotations

import pytest

from rlhf_service.events import JobStopped, Recovered, RoleStopped
from rlhf_service.job import StopReason
from tests.api.world import Driver, World, started, step

pytestmark = pytest.mark.asyncio


TO_RUNNING = ["validating", "queued", "provisioning", "running"]


async def test_a_job_succeeds_by_its_completion_record(world: World) -> None:
    job_id, driver = await world.started()
    assert driver.request.events_url.endswith(f"/v1/internal/jobs/{job_id}/events")
    assert world.settings.folder(job_id).spec.exists()
    for number in range(2, 11):
        await driver.say(step(number))
    assert (await world.job(job_id))["progress"]["step"] == 10
    world.launcher.succeed(driver.submission_id)
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("succeeded", "completed")
    assert job["result"] == {"job_id": job_id}
    assert job["finished_at"] is not None
    assert await world.history(job_id) == [*TO_RUNNING, "succeeded"]
    models = (await world.get("/v1/models"))["data"]
    assert [model["id"] for model in models] == [job_id]
    assert (await world.get(f"/v1/models/{job_id}"))["path"].endswith(f"{job_id}/model")


async def test_the_record_decides_even_when_the_driver_looks_dead(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.succeed(driver.submission_id)
    world.launcher.lose()
    await world.turn()
    assert (await world.job(job_id))["status"] == "succeeded"


async def test_a_running_driver_with_a_record_is_not_done_yet(world: World) -> None:
    job_id, driver = await world.started()
    world.settings.folder(job_id).result.write_text("{}")
    await world.turn()
    assert (await world.job(job_id))["status"] == "running"
    world.launcher.end(driver.submission_id)
    await world.turn()
    assert (await world.job(job_id))["status"] == "succeeded"


async def test_stall_and_recovery_show_as_status(world: World) -> None:
    job_id, driver = await world.started()
    role, phase = "rollout-0", "generate"
    await driver.say(
        RoleStopped(role=role, phase=phase, stalled=True, message="no answer in 300 s")
    )
    job = await world.job(job_id)
    assert job["status"] == "stalled"
    assert "rollout-0" in job["message"]
    await driver.say(Recovered(role=role, message="restarted"))
    assert (await world.job(job_id))["status"] == "running"
    await driver.say(RoleStopped(role=role, phase=phase, stalled=False, message="killed"))
    assert (await world.job(job_id))["status"] == "recovering"
    await driver.say(step(2))
    assert (await world.job(job_id))["status"] == "running"


async def test_events_in_the_folder_are_enough(world: World) -> None:
    job_id = (await world.submit())["id"]
    await world.turn()
    driver = Driver(world, f"{job_id}-a1")
    driver.spool(started(), step(1), torn='{"job_id": "torn')
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["progress"]["step"]) == ("running", 1)
    await driver.post(driver.record(step(2)))
    folder = world.settings.folder(job_id)
    path = folder.events / "a1-driver.jsonl"
    path.write_text(path.read_text().removesuffix('{"job_id": "torn'))
    driver.seq = 2  # the spool has step 2 as well, under the same producer_seq
    driver.spool(step(2), JobStopped(reason=StopReason.GATE_FAILED, message="KL is not 0"))
    world.launcher.end(driver.submission_id)
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("failed", "gate_failed")
    events = (await world.get(f"/v1/jobs/{job_id}/events", limit=100))["data"]
    steps = [e["event"]["step"] for e in events if e["event"]["type"] == "step"]
    assert steps == [1, 2]


async def test_a_line_of_nonsense_in_the_folder_is_passed_over(world: World) -> None:
    job_id = (await world.submit())["id"]
    await world.turn()
    driver = Driver(world, f"{job_id}-a1")
    driver.spool(torn="not json\n")
    driver.spool(started(), step(1))
    await world.turn()
    assert (await world.job(job_id))["status"] == "running"
