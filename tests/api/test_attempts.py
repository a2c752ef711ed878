"""Attempts that end: which are followed by another, and when there are no more."""

from __future__ import annotations

import pytest

from rlhf_service.events import JobStopped
from rlhf_service.job import StopReason
from tests.api.test_lifecycle import TO_RUNNING
from tests.api.world import Driver, World, started, step

pytestmark = pytest.mark.asyncio


async def test_died_then_recovers_then_succeeds(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.crash(driver.submission_id)
    await world.turn(2)
    job = await world.job(job_id)
    assert job["status"] == "recovering"
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
    assert job["attempts"][0]["outcome"]
    second = Driver(world, f"{job_id}-a2")
    await second.say(started(from_step=1), step(2))
    assert (await world.job(job_id))["status"] == "running"
    world.launcher.succeed(second.submission_id)
    await world.turn()
    assert await world.history(job_id) == [*TO_RUNNING, "recovering", "running", "succeeded"]
    assert world.launcher.submits == [f"{job_id}-a1", f"{job_id}-a2"]


async def test_attempts_are_exhausted_and_the_log_says_why(world: World) -> None:
    job_id = (await world.submit(recovery={"max_attempts": 2}))["id"]
    await world.turn()
    world.launcher.crash(f"{job_id}-a1")
    await world.turn(2)
    world.launcher.crash(f"{job_id}-a2", log="first\nCUDA error: out of luck")
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("failed", "attempts_exhausted")
    assert "CUDA error: out of luck" in job["message"]
    assert "2 of 2" in job["message"]


async def test_dying_while_recovering_starts_yet_another(world: World) -> None:
    job_id = (await world.submit())["id"]
    await world.turn()
    for number in (1, 2):
        world.launcher.crash(f"{job_id}-a{number}")
        await world.turn(2)
    job = await world.job(job_id)
    assert job["status"] == "recovering"
    assert len(job["attempts"]) == 3
    world.launcher.succeed(f"{job_id}-a3")
    await world.turn()
    assert (await world.job(job_id))["status"] == "succeeded"


async def test_a_last_word_that_no_retry_can_mend_fails_the_job(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(JobStopped(reason=StopReason.NON_FINITE_LOSS, message="loss is NaN at step 2"))
    world.launcher.end(driver.submission_id)
    await world.turn()
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("failed", "non_finite_loss")
    assert job["message"] == "loss is NaN at step 2"
    assert len(job["attempts"]) == 1


async def test_a_retryable_last_word_starts_another_attempt(world: World) -> None:
    job_id, driver = await world.started()
    stopped = JobStopped(reason=StopReason.INTERNAL_ERROR, message="node lost", retryable=True)
    await driver.say(stopped)
    world.launcher.end(driver.submission_id)
    await world.turn(2)
    job = await world.job(job_id)
    assert job["status"] == "recovering"
    assert "node lost" in job["message"]


async def test_attempts_whose_machines_go_by_plan_cost_none_of_the_budget(world: World) -> None:
    """Twice with the last word of a driver that was told to stop, once cut off by a short grace."""
    job_id = (await world.submit(recovery={"max_attempts": 1}))["id"]
    await world.turn()
    for number in (1, 2):
        driver = Driver(world, f"{job_id}-a{number}")
        await driver.say(started(), step(number))
        stopped = JobStopped(reason=StopReason.CANCELLED_BY_USER, message="told", retryable=True)
        await driver.say(stopped)
        world.launcher.end(driver.submission_id)
        await world.turn(2)
        assert (await world.job(job_id))["status"] == "recovering"
    world.settings.folder(job_id).leaving(3).touch()
    world.launcher.crash(f"{job_id}-a3")
    await world.turn(2)
    job = await world.job(job_id)
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2, 3, 4]
    assert all("taken back" in attempt["outcome"] for attempt in job["attempts"][:3])
    world.launcher.crash(f"{job_id}-a4")
    await world.turn(2)
    job = await world.job(job_id)
    assert (job["status"], job["reason"]) == ("failed", "attempts_exhausted")
    assert "attempt 1 of 1" in job["message"]
