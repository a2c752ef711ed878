"""Two replicas on one PostgreSQL tell each other of new events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from rlhf_service.events import Log
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.test_stream import ids
from tests.api.world import Driver, World, running

pytestmark = pytest.mark.asyncio

NEVER = 3600.0
"""A poll interval that no test lives to see."""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.02)


async def hears(world: World) -> bool:
    return world.services.listener.connected


async def cut_listeners(world: World) -> int:
    """End the connections that listen, as a restart of the server would."""
    found = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
        "datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
    )
    async with world.services.database.write() as session:
        return int(await session.scalar(text(found)) or 0)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_an_event_reaches_the_other_replica_without_the_poll(
    tmp_path: Path, database_url: str
) -> None:
    settings, launcher = make_settings(tmp_path, database_url, sse_poll=NEVER), FakeLauncher()
    async with running(settings, launcher) as one, running(settings, launcher, one.key) as two:
        await until(lambda: hears(two))
        job_id, driver = await one.started()
        follow = two.services.streams.follow(job_id, 0)
        other = Driver(one, driver.submission_id, "a1-learner-1")

        async def seen_up_to(last: int) -> None:
            async with asyncio.timeout(30):
                while seen[-1] < last:
                    seen.extend(ids(await anext(follow)))

        seen = ids(await anext(follow))
        await other.say(Log(message="first"))
        await seen_up_to((await one.job(job_id))["last_seq"])

        # What is said while nobody listens is told once somebody does again.
        assert await cut_listeners(one) >= 1
        await other.say(Log(message="meanwhile"))
        await seen_up_to((await one.job(job_id))["last_seq"])
        await until(lambda: hears(two))
        await other.say(Log(message="last"))
        await seen_up_to((await one.job(job_id))["last_seq"])
        await follow.aclose()
        assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_polling_does_alone(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("api.store.listener.Listener.run", deaf)
    settings, launcher = make_settings(tmp_path, database_url), FakeLauncher()
    async with running(settings, launcher) as one, running(settings, launcher, one.key) as two:
        job_id, driver = await one.started()
        follow = two.services.streams.follow(job_id, 0)
        seen = ids(await anext(follow))
        await driver.say(Log(message="here"))
        last = (await one.job(job_id))["last_seq"]
        async with asyncio.timeout(30):
            while seen[-1] < last:
                seen += ids(await anext(follow))
        await follow.aclose()
