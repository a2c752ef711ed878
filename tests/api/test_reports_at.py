"""What checkpoints' steps reported, looked up in a log of any length."""

from __future__ import annotations

import pytest

from api.store.fine_tunes import events_before, reports_at
from rlhf_service.events import CheckpointSaved
from tests.api.world import World, step

pytestmark = pytest.mark.asyncio


def saved(number: int) -> CheckpointSaved:
    return CheckpointSaved(stage="sft", step=number, path="/x", seconds=1)


async def test_a_checkpoint_has_the_figures_of_its_own_step(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(step(2, loss=2), saved(2), step(3, loss=3), saved(3), step(4, loss=4))
    # Another attempt takes a step again.
    await driver.say(step(3, loss=3.5, replayed=True), saved(3), saved(9))
    async with world.services.database.read() as session:
        rows = await events_before(session, job_id, None, 10, ("checkpoint",))
        reports = await reports_at(session, job_id, rows)
        older = await reports_at(session, job_id, rows[-2:])
        assert await reports_at(session, job_id, []) == {}
    assert {key: report.loss for key, report in reports.items()} == {  # type: ignore[union-attr]
        ("sft", 2): 2,
        ("sft", 3): 3.5,
    }
    assert older["sft", 3].loss == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_long_log_costs_what_a_short_one_does(world: World) -> None:
    async def cost(steps: int) -> int:
        """Instructions of the database's machine."""
        job_id, driver = await world.started()
        await driver.say(*(step(number) for number in range(2, steps)), step(steps), saved(steps))
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        async with world.services.database.read() as session:
            raw = await (await session.connection()).get_raw_connection()
            assert raw.driver_connection is not None
            await raw.driver_connection.set_progress_handler(count, 1)
            rows = await events_before(session, job_id, None, 10, ("checkpoint",))
            assert await reports_at(session, job_id, rows)
            await raw.driver_connection.set_progress_handler(None, 1)
        return counted

    short, long = await cost(3), await cost(400)
    assert 10 < short <= long <= short + 5
