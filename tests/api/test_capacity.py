"""Room on the cluster: who waits for it, and room that comes only for jobs that ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rlhf_service.launching import GROWTH_VARIABLE
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import World, running

pytestmark = pytest.mark.asyncio


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


# A cluster that an autoscaler grows


def cpus(number: int) -> dict[str, dict[str, dict[str, int]]]:
    """Resources of a job that needs as many CPUs."""
    return {"resources": {"learner": {"cpus_per_worker": number}}}


@pytest_asyncio.fixture
async def growing(tmp_path: Path) -> AsyncIterator[World]:
    """No CPU now, four on demand."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'control.db'}"
    settings = make_settings(tmp_path, url, cluster_max_cpus=4, cluster_growth_seconds=300)
    async with running(settings, FakeLauncher(cpus=0)) as world:
        yield world


async def test_a_job_goes_to_a_cluster_that_has_no_room_yet(growing: World) -> None:
    job_id = (await growing.submit(**cpus(2)))["id"]
    await growing.turn()
    assert (await growing.job(job_id))["status"] == "provisioning"
    environment = growing.launcher.attempts[f"{job_id}-a1"].request.environment
    assert environment[GROWTH_VARIABLE] == "300"


async def test_what_it_can_grow_to_is_shared_out_and_is_the_end(growing: World) -> None:
    first = (await growing.submit(**cpus(3)))["id"]
    second = (await growing.submit(**cpus(2)))["id"]
    await growing.turn()
    assert (await growing.job(first))["status"] == "provisioning"
    assert (await growing.job(second))["message"] == (
        f"waiting for 2 CPUs; 1 free; held by {first}"
    )
    answer = await growing.client.post("/v1/jobs", json=growing.spec(**cpus(5)))
    assert answer.status_code == 400 and "needs 5 CPUs; the cluster has at most 4" in answer.text
    growing.launcher.succeed(f"{first}-a1")
    await growing.turn(2)
    assert (await growing.job(second))["status"] == "provisioning"


async def test_jobs_wait_for_the_first_machine_of_a_cluster(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'control.db'}"
    launcher = FakeLauncher(cpus=0)
    async with running(make_settings(tmp_path, url), launcher) as world:
        made = await world.submit()
        assert "no machine of the cluster has a CPU or GPU yet" in made["message"]
        await world.turn()
        waiting = (await world.job(made["id"]))["message"]
        assert waiting == "waiting for a larger cluster: needs 1 CPUs, it has 0"
        launcher.total = type(launcher.total)(4.0, 0.0)
        await world.turn()
        assert (await world.job(made["id"]))["status"] == "provisioning"
        answer = await world.client.post("/v1/jobs", json=world.spec(**cpus(5)))
        assert answer.status_code == 400 and "the cluster has at most 4" in answer.text
