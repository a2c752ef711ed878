"""Old logs are dropped; what is left says where it begins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from api.service.retention import Retention
from api.settings import Settings
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.events import Log
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import Driver, World, running

pytestmark = pytest.mark.asyncio


async def ended_long_ago(world: World) -> tuple[str, Driver]:
    job_id, driver = await world.started()
    await driver.say(*[Log(message=str(i)) for i in range(20)])
    world.launcher.succeed(driver.submission_id)
    await world.turn()
    assert (await world.job(job_id))["status"] == "succeeded"
    async with world.services.database.write() as session:
        past = now() - timedelta(days=8)
        await session.execute(update(JobRow).where(JobRow.id == job_id).values(finished_at=past))
    return job_id, driver


async def told(stream: AsyncIterator[bytes]) -> list[tuple[str, dict[str, object]]]:
    """(event, data) of everything a stream says."""
    text = b"".join([part async for part in stream]).decode()
    frames = [dict(line.split(": ", 1) for line in f.split("\n")) for f in text.split("\n\n") if f]
    return [(frame["event"], json.loads(frame["data"])) for frame in frames]


async def test_a_log_past_retention_keeps_its_last_entry_and_says_so(
    settings: Settings, launcher: FakeLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.service.retention.AT_ONCE", 7)
    kept = settings.model_copy(update={"event_days": 7.0})
    async with running(settings, launcher) as world, asyncio.timeout(60):
        old, driver = await ended_long_ago(world)
        last = (await world.job(old))["last_seq"]
        fresh, _ = await world.started()
        retention = Retention(world.services.database, kept)
        assert await retention.prune() == last - 1
        assert await retention.prune() == 0
        job = await world.job(old)
        assert (job["first_seq"], job["last_seq"]) == (last, last)
        events = (await world.get(f"/v1/jobs/{old}/events"))["data"]
        assert [event["seq"] for event in events] == [last]
        assert (await world.job(fresh))["first_seq"] == 1
        for after in (0, 5, last - 2, last + 9):
            said = await told(world.services.streams.follow(old, after))
            assert [event for event, _ in said] == ["reset", "status", "end"]
            assert said[0][1] == {"first": last, "last": last}
            assert said[1][1]["seq"] == last
        said = await told(world.services.streams.follow(old, last - 1))
        assert [event for event, _ in said] == ["status", "end"]
        # What is posted again cannot be known from what is new, so nothing is taken.
        assert (await driver.say(Log(message="late")))["accepted"] == 0
        assert (await world.job(old))["last_seq"] == last
