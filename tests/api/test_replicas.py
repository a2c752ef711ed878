"""A control plane that dies, restarts, freezes, or is one of several."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update
from sqlalchemy.orm.exc import StaleDataError

from api.reconcile.visit import Visitor
from api.settings import Settings
from api.store.jobs import find_job, lock_job
from api.store.leases import LeaseLost, lock_leased, release_lease, take_lease
from api.store.moves import IllegalMove, move
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import Driver, World, running, started, step

pytestmark = pytest.mark.asyncio


async def expire(world: World, job_id: str) -> None:
    async with world.services.database.write() as session:
        past = now().replace(year=2000)
        statement = update(JobRow).where(JobRow.id == job_id).values(lease_expires_at=past)
        await session.execute(statement)


async def test_a_new_control_plane_picks_everything_up(
    settings: Settings, launcher: FakeLauncher
) -> None:
    launcher.total = type(launcher.total)(3.0, 0.0)
    async with running(settings, launcher) as world:
        key = world.key
        trains, driver = await world.started()
        cancels, _ = await world.started()
        dies = (await world.submit())["id"]
        await world.turn()
        waits = (await world.submit())["id"]
        await world.ask(cancels, "cancel")
    # Nobody watches: one finishes, one crashes, and a driver spools what it could not post.
    driver.spool(step(2))
    launcher.succeed(driver.submission_id)
    launcher.crash(f"{dies}-a1")
    async with running(settings, launcher, key) as world:
        await world.turn(3)
        found = {job: (await world.job(job))["status"] for job in (trains, cancels, dies, waits)}
        assert found == {
            trains: "succeeded", cancels: "cancelled", dies: "recovering", waits: "provisioning"
        }  # fmt: skip
        assert (await world.job(trains))["progress"]["step"] == 2
        late = Driver(world, f"{dies}-a2")
        await late.say(started())  # its token was derived again, from the same secret
        assert (await world.job(dies))["status"] == "running"
    assert len(launcher.submits) == len(set(launcher.submits)) == 5


async def test_a_death_between_commit_and_submit_loses_nothing(
    settings: Settings, launcher: FakeLauncher
) -> None:
    async with running(settings, launcher) as world:
        key, job_id = world.key, (await world.submit())["id"]
        await world.services.reconciler.queue.advance()  # committed; the submit never happens
    assert launcher.submits == []
    async with running(settings, launcher, key) as world:
        await world.turn()
        assert launcher.submits == [f"{job_id}-a1"]
        await Driver(world, f"{job_id}-a1").say(started())
        assert (await world.job(job_id))["status"] == "running"


async def test_a_death_between_submit_and_commit_submits_the_same_again(
    settings: Settings, launcher: FakeLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, launcher) as world:
        key, job_id = world.key, (await world.submit())["id"]
        await world.services.reconciler.queue.advance()
        visitor = world.services.reconciler.visitor
        submit = visitor.cluster.submit

        async def submit_then_die(request: object) -> None:
            await submit(request)  # type: ignore[arg-type]
            raise asyncio.CancelledError

        monkeypatch.setattr(visitor.cluster, "submit", submit_then_die)
        with pytest.raises(asyncio.CancelledError):
            await visitor.visit(job_id)
    async with running(settings, launcher, key) as world:
        await world.turn()
    assert launcher.submits == [f"{job_id}-a1"] * 2
    assert list(launcher.attempts) == [f"{job_id}-a1"]


async def test_one_lease_at_a_time(world: World) -> None:
    job_id, database = (await world.submit())["id"], world.services.database
    taken = await asyncio.gather(*[take_lease(database, job_id, 60) for _ in range(8)])
    held = [lease for lease in taken if lease is not None]
    assert len(held) == 1
    await release_lease(database, held[0])
    assert await take_lease(database, job_id, 60) is not None


async def test_a_frozen_holder_cannot_write(world: World) -> None:
    job_id, database = (await world.submit())["id"], world.services.database
    frozen = await take_lease(database, job_id, 60)
    assert frozen is not None
    await expire(world, job_id)
    successor = await take_lease(database, job_id, 60)
    assert successor is not None
    with pytest.raises(LeaseLost):
        async with database.write() as session:
            await lock_leased(session, frozen)
    await release_lease(database, frozen)  # must not free the successor's
    async with database.write() as session:
        assert (await lock_leased(session, successor)).id == job_id


async def test_a_look_that_froze_half_way_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, driver = await world.started()
    world.launcher.crash(driver.submission_id)
    slow, parts = world.services.reconciler.visitor, world.services
    reached, go_on = asyncio.Event(), asyncio.Event()
    leftovers = parts.cluster.leftovers
    others = Visitor(parts.database, parts.cluster, parts.jobs.signals, parts.settings, slow.secret)

    async def freeze(job: str) -> list[str]:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await leftovers(job)

    monkeypatch.setattr(parts.cluster, "leftovers", freeze)
    async with asyncio.timeout(20):
        frozen = asyncio.create_task(slow.visit(job_id))
        await reached.wait()
        await expire(world, job_id)
        await others.visit(job_id)  # settles: attempt 2 is opened
        await others.visit(job_id)  # and submitted
        before = await world.job(job_id)
        go_on.set()
        await frozen
    after = await world.job(job_id)
    assert after == before
    assert [attempt["number"] for attempt in after["attempts"]] == [1, 2]
    assert world.launcher.submits == [f"{job_id}-a1", f"{job_id}-a2"]


async def test_two_replicas_side_by_side_never_submit_twice_or_too_much(
    settings: Settings, launcher: FakeLauncher
) -> None:
    async with running(settings, launcher) as one, running(settings, launcher, one.key) as two:
        ids = [(await one.submit())["id"] for _ in range(6)]
        for _ in range(40):
            await asyncio.gather(one.turn(), two.turn())
            alive = [a for a in launcher.attempts.values() if a.state == "running"]
            assert len(alive) <= 2
            for attempt in alive:
                launcher.succeed(attempt.request.submission_id)
            statuses = {(await one.job(job_id))["status"] for job_id in ids}
            if statuses == {"succeeded"}:
                break
        assert statuses == {"succeeded"}
        for job_id in ids:
            history = await one.history(job_id)
            assert history == ["validating", "queued", "provisioning", "succeeded"]
    assert sorted(launcher.attempts) == sorted(f"{job_id}-a1" for job_id in ids)


async def test_the_table_of_moves_is_kept_and_ends_stay_ends(world: World) -> None:
    job_id, database = (await world.submit())["id"], world.services.database
    with pytest.raises(IllegalMove):
        async with database.write() as session:
            job = await lock_job(session, job_id)
            assert job is not None
            await move(session, job, JobStatus.RUNNING)
    await world.ask(job_id, "cancel")
    for status in JobStatus:
        with pytest.raises(IllegalMove):
            async with database.write() as session:
                job = await lock_job(session, job_id)
                assert job is not None
                await move(session, job, status, reason=StopReason.INTERNAL_ERROR)


async def test_a_move_from_a_stale_row_fails(world: World) -> None:
    job_id, database = (await world.submit())["id"], world.services.database
    async with database.read() as session:
        stale = await find_job(session, job_id)
    assert stale is not None
    await world.ask(job_id, "pause")
    with pytest.raises(StaleDataError):
        async with database.write() as session:
            session.add(stale)
            await move(session, stale, JobStatus.PROVISIONING)
    assert (await world.job(job_id))["status"] == "paused"


async def test_a_late_submit_of_an_ended_job_is_swept(world: World) -> None:
    job_id, driver = await world.started()
    await world.ask(job_id, "cancel")
    await world.turn()
    assert (await world.job(job_id))["status"] == "cancelled"
    world.launcher.stubborn = True
    world.launcher.attempts[driver.submission_id].state = type(
        world.launcher.attempts[driver.submission_id].state
    ).RUNNING
    await world.services.reconciler.sweeper.sweep()
    assert world.launcher.stops == [driver.submission_id]


async def test_a_cluster_that_hangs_is_unreachable(tmp_path, database_url) -> None:  # type: ignore[no-untyped-def]
    import threading

    release = threading.Event()

    class Hanging(FakeLauncher):
        def capacity(self):  # type: ignore[no-untyped-def]
            release.wait(20)
            return super().capacity()

    settings = make_settings(tmp_path, database_url, launcher_timeout=0.05)
    try:
        async with running(settings, Hanging()) as world, asyncio.timeout(10):
            job = await world.submit()
            assert "no answer within 0.05 s" in job["message"]
            await world.turn()
            assert (await world.job(job["id"]))["status"] == "queued"
    finally:
        release.set()
