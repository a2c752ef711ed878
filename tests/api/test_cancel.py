"""Cancelling a job, wherever it is."""

from __future__ import annotations

import pytest

from rlhf_service.events import JobStopped, RoleStopped
from rlhf_service.job import StopReason
from tests.api.world import Driver, World, started, step

pytestmark = pytest.mark.asyncio


async def test_cancel_while_queued_is_immediate(world: World) -> None:
    job_id = (await world.submit())["id"]
    job = await world.ask(job_id, "cancel")
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")
    await world.turn(2)
    assert world.launcher.submits == []
    assert (await world.ask(job_id, "cancel"))["status"] == "cancelled"


@pytest.mark.parametrize("state", ["provisioning", "running", "recovering", "stalled", "pausing"])
async def test_cancel_while_holding_waits_for_the_last_actor(world: World, state: str) -> None:
    job_id = (await world.submit())["id"]
    await world.turn()
    driver, name = Driver(world, f"{job_id}-a1"), f"{job_id}-a1"
    if state != "provisioning":
        await driver.say(started(), step(1))
    if state in ("recovering", "stalled"):
        await driver.say(
            RoleStopped(role="r", phase="p", stalled=state == "stalled", message="gone")
        )
    if state == "pausing":
        await world.ask(job_id, "pause")
    assert (await world.job(job_id))["status"] == state
    assert (await world.ask(job_id, "cancel"))["status"] == "cancelling"
    world.launcher.stubborn = True
    await world.turn()
    assert world.settings.folder(job_id).stop_flag.exists()
    world.launcher.immortal = True
    world.launcher.end(name, leftovers=True)
    await world.turn(2)
    job = await world.job(job_id)
    assert job["status"] == "cancelling"
    assert job_id in world.launcher.removals
    assert f"rlhf/{job_id}/rollout-0" in job["message"]
    world.launcher.end(name)
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")


async def test_cancel_while_paused_is_immediate(world: World) -> None:
    job_id, _ = await world.started()
    await world.ask(job_id, "pause")
    await world.turn()
    assert (await world.job(job_id))["status"] == "paused"
    assert (await world.ask(job_id, "cancel"))["status"] == "cancelled"


async def test_a_driver_that_ignores_the_flag_is_stopped(world: World) -> None:
    object.__setattr__(world.settings, "cancel_grace", 0.0)
    job_id, driver = await world.started()
    world.launcher.stubborn = True
    await world.ask(job_id, "cancel")
    await world.turn(2)
    assert world.launcher.stops == [driver.submission_id]
    assert (await world.job(job_id))["status"] == "cancelled"


async def test_a_finished_job_cannot_be_cancelled(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.succeed(driver.submission_id)
    await world.turn()
    for verb in ("cancel", "pause", "resume"):
        answer = await world.client.post(f"/v1/jobs/{job_id}/{verb}")
        assert answer.status_code == 409
        assert answer.headers["x-should-retry"] == "false"
    await driver.say(step(9), JobStopped(reason=StopReason.NON_FINITE_LOSS))
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "succeeded"
