"""A cluster that forgets, does not answer, refuses, or answers too late."""

from __future__ import annotations

import pytest

from tests.api.world import World

pytestmark = pytest.mark.asyncio


async def test_a_lost_cluster_counts_as_died_after_some_looks(world: World) -> None:
    job_id, _ = await world.started()
    world.launcher.lose()
    await world.turn(world.settings.lost_looks - 1)
    assert (await world.job(job_id))["status"] == "running"
    await world.turn(2)
    job = await world.job(job_id)
    assert job["status"] == "recovering"
    assert f"{job_id}-a2" in world.launcher.attempts


async def test_an_unreachable_cluster_changes_nothing(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.reachable = False
    await world.turn(10)
    job = await world.job(job_id)
    assert job["status"] == "running"
    assert "unreachable" in job["message"]
    world.launcher.reachable = True
    await world.turn()
    assert (await world.job(job_id))["message"] == ""
    world.launcher.succeed(driver.submission_id)
    await world.turn()
    assert (await world.job(job_id))["status"] == "succeeded"


async def test_a_cluster_that_refuses_fails_the_job(world: World) -> None:
    world.launcher.refuses = True
    job_id = (await world.submit())["id"]
    await world.turn(world.settings.launch_refusals + 1)
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("failed", "launch_failed")
    assert "takes no submissions" in job["message"]


async def test_a_cluster_that_answers_too_late_has_refused_nothing(world: World) -> None:
    late = world.launcher.late = world.settings.launch_refusals + 2
    job_id = (await world.submit())["id"]
    await world.turn(late)
    assert (await world.job(job_id))["status"] == "provisioning"
    await world.turn()
    assert list(world.launcher.attempts) == [f"{job_id}-a1"], "one attempt, however often asked"
    await world.turn(2)
    assert world.launcher.submits == [f"{job_id}-a1"] * (late + 1)
    assert (await world.job(job_id))["status"] == "provisioning"
