"""Whatever happens in whatever order: what has ended stays as it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlhf_service.events import JobStopped, Recovered, RoleStopped
from rlhf_service.job import TERMINAL, JobStatus, StopReason, can_move
from rlhf_service.launching import LaunchState
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import Driver, World, running, started, step

Action = Callable[[World, str], Awaitable[None]]


def asks(verb: str) -> Action:
    async def act(world: World, job_id: str) -> None:
        answer = await world.client.post(f"/v1/jobs/{job_id}/{verb}")
        assert answer.status_code in (200, 409)

    return act


def cluster(change: str) -> Action:
    """Something happens to the newest attempt on the cluster."""

    async def act(world: World, job_id: str) -> None:
        mine = [name for name in world.launcher.attempts if name.startswith(job_id)]
        if not mine:
            return
        match change:
            case "lose":
                del world.launcher.attempts[mine[-1]]
            case "rise":
                world.launcher.attempts[mine[-1]].state = LaunchState.RUNNING
            case "leave":
                world.launcher.end(mine[-1], leftovers=True)
            case _:
                getattr(world.launcher, change)(mine[-1])

    return act


def says(producer: str, *events: object) -> Action:
    """A driver of any attempt, the first or the newest, speaks."""

    async def act(world: World, job_id: str) -> None:
        mine = [name for name in world.launcher.attempts if name.startswith(job_id)]
        if not mine:
            return
        name = mine[0] if producer == "first" else mine[-1]
        spoken = SAID.setdefault(name, Driver(world, name))
        await spoken.say(*events)  # type: ignore[arg-type]

    return act


async def turn(world: World, _: str) -> None:
    await world.turn()


async def sweep(world: World, _: str) -> None:
    await world.services.reconciler.sweeper.sweep()


SAID: dict[str, Driver] = {}
WORDS = [
    JobStopped(reason=reason, message="m", retryable=retryable)
    for reason in (StopReason.CANCELLED_BY_USER, StopReason.NON_FINITE_LOSS, StopReason.COMPLETED)
    for retryable in (True, False)
] + [JobStopped(reason=StopReason.UNHEALTHY_PAUSED, message="alarm")]
ACTIONS: dict[str, Action] = {
    **{verb: asks(verb) for verb in ("cancel", "pause", "resume")},
    **{change: cluster(change) for change in ("succeed", "crash", "lose", "rise", "leave")},
    "turn": turn,
    "turn again": turn,
    "sweep": sweep,
    "train": says("newest", started(), step(1)),
    "stall": says("newest", RoleStopped(role="r", phase="p", stalled=True, message="m")),
    "recover": says("newest", Recovered(role="r", message="m")),
    "old news": says("first", step(2)),
    **{f"word {n}": says("newest", word) for n, word in enumerate(WORDS)},
    "old word": says("first", WORDS[0]),
}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def world(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("world")
    made = running(
        make_settings(folder, "", cancel_grace=0.0, pause_grace=0.0, lost_looks=1),
        FakeLauncher(cpus=1000),
    )
    yield runner.run(made.__aenter__())
    runner.run(made.__aexit__(None, None, None))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(ACTIONS)), min_size=3, max_size=20))
@example(["turn", "train", "succeed", "turn", "cancel", "word 0", "turn", "rise", "sweep", "turn"])
@example(["turn", "train", "cancel", "turn", "turn", "old news", "resume", "train", "turn"])
@example(["turn", "pause", "turn", "resume", "turn", "old word", "turn", "word 2", "crash", "turn"])
def test_no_sequence_changes_an_end(runner: asyncio.Runner, world: World, names: list[str]) -> None:
    runner.run(play(world, names))


async def play(world: World, names: list[str]) -> None:
    job_id = (await world.submit(recovery={"max_attempts": 3}))["id"]
    ended = None
    for name in names:
        await ACTIONS[name](world, job_id)
        job = await world.job(job_id)
        kept = {key: job[key] for key in ("status", "reason", "message", "finished_at", "result")}
        if ended is not None:
            assert kept == ended, f"changed by {name}"
        elif job["status"] in TERMINAL:
            ended = kept
            assert job["finished_at"] is not None
            assert StopReason(job["reason"]).to_status() == job["status"]
            record = world.settings.folder(job_id).result.exists()
            assert record or job["status"] != "succeeded", "success is the record"
    told = [JobStatus(status) for status in await world.history(job_id)]  # its log has no gap
    assert all(can_move(before, after) for before, after in pairwise(told))
    assert [status for status in told if status in TERMINAL] == told[-1:] * (ended is not None)
    await asks("cancel")(world, job_id)  # the next example has the cluster to itself
    world.launcher.attempts.clear()
