"""Pausing a job and having it go on."""

from __future__ import annotations

import pytest

from tests.api.test_lifecycle import TO_RUNNING
from tests.api.world import Driver, World, started

pytestmark = pytest.mark.asyncio


async def test_pause_and_resume(world: World) -> None:
    job_id, _ = await world.started()
    assert (await world.ask(job_id, "pause"))["status"] == "pausing"
    assert (await world.client.post(f"/v1/jobs/{job_id}/resume")).status_code == 409
    await world.turn()
    assert (await world.job(job_id))["status"] == "paused"
    await world.turn(3)
    assert len(world.launcher.submits) == 1
    assert (await world.ask(job_id, "resume"))["status"] == "queued"
    await world.turn()
    assert not world.settings.folder(job_id).stop_flag.exists()
    second = Driver(world, f"{job_id}-a2")
    await second.say(started(from_step=1))
    world.launcher.succeed(second.submission_id)
    await world.turn()
    assert await world.history(job_id) == [
        *TO_RUNNING, "pausing", "paused", "queued", "provisioning", "running", "succeeded",
    ]  # fmt: skip


async def test_pausing_does_not_use_up_attempts(world: World) -> None:
    job_id, _ = await world.started(recovery={"max_attempts": 2})
    for _ in range(3):
        await world.ask(job_id, "pause")
        await world.turn()
        await world.ask(job_id, "resume")
        await world.turn()
    world.launcher.crash(f"{job_id}-a4")
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "recovering"


async def test_a_queued_job_can_be_paused(world: World) -> None:
    job_id = (await world.submit())["id"]
    assert (await world.ask(job_id, "pause"))["status"] == "paused"
    await world.turn(2)
    assert world.launcher.submits == []
