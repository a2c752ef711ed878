"""Every way a job can go, told by the driver, the cluster and the user."""

from __future__ import annotations

import pytest

from rlhf_service.events import JobStopped, Recovered, RoleStopped
from rlhf_service.job import StopReason
from rlhf_service.testing_launcher import FakeLauncher
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


async def test_first_come_first_served_within_capacity(world: World) -> None:
    two = {"resources": {"learner": {"num_workers": 2}}}
    first, second, third = [(await world.submit(**changes))["id"] for changes in ({}, two, {})]
    await world.turn()
    statuses = [(await world.job(job_id))["status"] for job_id in (first, second, third)]
    assert statuses == ["provisioning", "queued", "queued"]
    message = (await world.job(second))["message"]
    assert message == f"waiting for 2 CPUs; 1 free; held by {first}"
    assert second in (await world.job(third))["message"]
    world.launcher.succeed(f"{first}-a1")
    await world.turn(2)
    statuses = [(await world.job(job_id))["status"] for job_id in (second, third)]
    assert statuses == ["provisioning", "queued"]


async def test_a_job_too_large_for_a_shrunk_cluster_holds_up_nobody(
    world: World, launcher: FakeLauncher
) -> None:
    large = (await world.submit(resources={"learner": {"num_workers": 2}}))["id"]
    small = (await world.submit())["id"]
    launcher.total = type(launcher.total)(1.0, 0.0)
    await world.turn()
    assert "larger cluster" in (await world.job(large))["message"]
    assert (await world.job(small))["status"] == "provisioning"


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
