"""The real control plane on RayJobs: what a user sees while the operator does its work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from api.settings import Settings
from rlhf_service.events import JobStopped
from rlhf_service.job import StopReason
from tests.api.world import Driver, World, running, started, step
from tests.kuberay.conftest import settings_of
from tests.kuberay.operator import Operator

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world(kubernetes, account, tmp_path) -> AsyncIterator[World]:
    """Configured as in a pod: by a file."""
    made = settings_of(api_server=kubernetes.url, credentials=account, capacity="unlimited")
    path = tmp_path / "kuberay.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json")))
    settings = Settings(
        storage=tmp_path,
        launcher="kuberay",
        kuberay_file=path,
        reconcile=False,
        leftover_grace=0.0,
        cancel_grace=0.0,
    )
    async with running(settings, None) as found:
        yield found


class PodDriver(Driver):
    """A driver in a pod: its token is in the job's folder."""

    @property
    def request(self) -> Request:
        job_id, _, attempt = self.submission_id.rpartition("-a")
        return Request(self.world, job_id, int(attempt))


class Request:
    def __init__(self, world: World, job_id: str, attempt: int) -> None:
        self.job_id, self.attempt = job_id, attempt
        folder = world.settings.folder(job_id).root
        self.events_token = (folder / f"attempt-{attempt}.token").read_text()


async def seen(world: World, job_id: str, **wanted: str) -> dict[str, object]:
    """Take turns until the job reads so."""
    for _ in range(200):
        await world.turn()
        job = await world.job(job_id)
        if all(str(job[key]).startswith(value) for key, value in wanted.items()):
            return job
    raise AssertionError(f"never {wanted}: {job}")


async def begin(world: World, operator: Operator) -> tuple[str, PodDriver]:
    job_id = (await world.submit())["id"]
    await world.turn()
    operator.start(f"{job_id}-a1")
    driver = PodDriver(world, f"{job_id}-a1")
    await driver.say(started(), step(1))
    await seen(world, job_id, status="running")
    return job_id, driver


async def test_a_job_succeeds(world, operator):
    job_id, _ = await begin(world, operator)
    world.settings.folder(job_id).result.write_text(json.dumps({"job_id": job_id}))
    operator.finish(f"{job_id}-a1", "SUCCEEDED")
    operator.take_pods(f"{job_id}-a1", "worker")
    await seen(world, job_id, status="succeeded")


async def test_a_driver_that_dies_gets_another_rayjob(world, operator):
    job_id, _ = await begin(world, operator)
    operator.finish(f"{job_id}-a1", "FAILED")
    operator.take_pods(f"{job_id}-a1", "worker")
    await seen(world, job_id, status="recovering")
    await world.turn(2)
    assert operator.rayjob(f"{job_id}-a2")["metadata"]["labels"]["rlhf/attempt"] == "2"


async def test_a_preempted_job_says_so_and_goes_on_with_the_same_attempt(world, operator):
    job_id, driver = await begin(world, operator)
    name = f"{job_id}-a1"
    stopped = JobStopped(reason=StopReason.CANCELLED_BY_USER, message="", retryable=True)
    await driver.say(stopped)
    operator.take_pods(name)
    operator.say(name, jobDeploymentStatus="Suspended", jobStatus="")
    await seen(world, job_id, status="running", message="the cluster took its room back")
    operator.start(name)
    await driver.say(started(from_step=1), step(2))
    job = await seen(world, job_id, status="running", message="")
    assert len(job["attempts"]) == 1 and not job["message"]
    world.settings.folder(job_id).result.write_text("{}")
    operator.finish(name, "SUCCEEDED")
    operator.take_pods(name, "worker")
    await seen(world, job_id, status="succeeded")


async def test_cancelled_is_said_when_no_pod_is_left(world, operator):
    job_id, _ = await begin(world, operator)
    name = f"{job_id}-a1"
    await world.ask(job_id, "cancel")
    await world.turn(3)
    assert operator.rayjob(name)["metadata"]["deletionTimestamp"]
    operator.release(name)
    await world.turn(3)
    assert (await world.job(job_id))["status"] == "cancelling"
    operator.take_pods(name)
    await seen(world, job_id, status="cancelled")


async def test_workers_that_stay_are_pressed_to_go(world, operator):
    """The deletion rules need a feature gate; without them pods of an ended job would stay."""
    job_id, _ = await begin(world, operator)
    operator.finish(f"{job_id}-a1", "FAILED")
    for _ in range(20):
        await world.turn()
        if "deletionTimestamp" in operator.rayjob(f"{job_id}-a1")["metadata"]:
            return
    raise AssertionError("its RayJob was never deleted")


async def test_what_kubernetes_refuses_fails_the_job_in_its_words(world, kubernetes):
    kubernetes.unwilling = "exceeded quota: gpus"
    job_id = (await world.submit())["id"]
    job = await seen(world, job_id, status="failed")
    assert "refused it 3 times" in str(job["message"]) and "exceeded quota" in str(job["message"])


async def test_a_restarted_control_plane_finds_its_rayjobs(world, kubernetes, operator):
    job_id, _ = await begin(world, operator)
    async with running(world.settings, None, key=world.key) as again:
        await again.turn(3)
        assert (await again.job(job_id))["status"] == "running"
        world.settings.folder(job_id).result.write_text("{}")
        operator.finish(f"{job_id}-a1", "SUCCEEDED")
        operator.take_pods(f"{job_id}-a1", "worker")
        await seen(again, job_id, status="succeeded")
    assert sum(plural == "rayjobs" for plural, _, _ in kubernetes.objects) == 1
