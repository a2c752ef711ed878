"""The commands of the page on backups, for PostgreSQL: run as they stand there, while jobs run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.postgres import new_database, pg_program
from tests.api.world import JSON, Driver, World, running, started, step

pytestmark = pytest.mark.asyncio

PAGE = Path(__file__).parents[2] / "docs" / "deploy" / "backup.md"
SECTION = re.compile(
    r"^\*\*PostgreSQL\*\*.*?^```console\n(.*?)^```.*?^```console\n(.*?)^```", re.M | re.S
)


def commands(which: int) -> list[str]:
    """Of the section's two blocks: how to back up, and how to restore."""
    found = SECTION.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return [line.removeprefix("$ ") for line in found[which].splitlines()]


def run(line: str, settings: Settings, backups: Path) -> str:
    """A line of the page in a shell, with the settings that an operator has in the environment."""
    tools = f"{Path(pg_program('pg_ctl') or '').parent}:{Path(sys.executable).parent}"
    environment = {
        **os.environ,
        "RLHF_STORAGE": str(settings.storage),
        "RLHF_DATABASE_URL": settings.database_url,
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", line.replace("/backups", str(backups))],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


async def report(driver: Driver, number: int) -> None:
    """A step as real drivers report it: on disk first, then posted."""
    record = driver.record(step(number))
    folder = driver.world.settings.folder(driver.request.job_id)
    folder.events.mkdir(parents=True, exist_ok=True)
    with (folder.events / f"{driver.producer}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(record) + "\n")
    assert (await driver.post(record)).status_code == 200


async def finished_job(world: World) -> str:
    """With a model of one file."""
    job_id, _ = await world.started(name="done")
    model = world.settings.folder(job_id).model
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"hidden": 8}')
    world.launcher.succeed(f"{job_id}-a1")
    await world.turn(2)
    assert (await world.job(job_id))["status"] == "succeeded"
    return job_id


async def log_of(world: World, job_id: str) -> list[JSON]:
    found: list[JSON] = (await world.get(f"/v1/jobs/{job_id}/events", limit=1000))["data"]
    return found


@pytest.fixture
def places(postgres: str, tmp_path: Path) -> tuple[Settings, Settings]:
    """A database and a storage, and others that are empty."""
    return tuple(
        make_settings(tmp_path / name, new_database(postgres, f"b{uuid.uuid4().hex}"), lost_looks=1)
        for name in ("old", "new")
    )  # type: ignore[return-value]


async def test_what_was_dumped_while_it_ran_is_served_from_another_database(places, tmp_path):
    old, new = places
    backups = tmp_path / "backups"
    backups.mkdir()
    dump, archive = commands(1)
    async with running(old, FakeLauncher()) as world:
        finished = await finished_job(world)
        alive, driver = await world.started(name="goes on")
        made = await world.client.post("/v1/keys", json={"tenant": "else", "scopes": ["write"]})
        other = {"authorization": f"Bearer {made.json()['secret']}"}
        await report(driver, 2)
        log, models = await log_of(world, finished), await world.get("/v1/models")
        run(dump, old, backups)
        # It goes on between the two commands, and what comes then is in the files alone.
        await report(driver, 3)
        late = (await world.submit(name="late"))["id"]
        await world.turn()
        assert "without the database" in run(archive, old, backups)
        await report(driver, 4)  # too late for this backup

    for line in commands(2):
        run(line, new, backups)
    # The old schema is the new one's: nothing is migrated.
    settings = new.model_copy(update={"migrate": False})
    async with running(settings, FakeLauncher(), key=world.key) as again:
        assert (await again.get("/readyz"))["checks"]["database"] == "ok"
        assert (await again.job(finished))["status"] == "succeeded"
        assert await log_of(again, finished) == log
        found = (await again.get("/v1/models"))["data"]
        assert [model["id"] for model in found] == [model["id"] for model in models["data"]]
        assert all(model["path"].startswith(str(new.storage)) for model in found)
        assert (settings.folder(finished).model / "config.json").read_text() == '{"hidden": 8}'
        assert (await again.client.get("/v1/jobs", headers=other)).json()["data"] == []
        assert (
            await again.client.get("/v1/jobs", headers={"authorization": ""})
        ).status_code == 401
        await again.turn(3)
        job = await again.job(alive)
        assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
        assert job["progress"]["step"] == 3, "read in from the files"
        assert again.launcher.submits == [f"{alive}-a2"]
        assert (await again.client.get(f"/v1/jobs/{late}")).status_code == 404
        # It works on: the numbering goes on, and new jobs find their place.
        resumed = Driver(again, f"{alive}-a2")
        await resumed.say(started(from_step=3), step(4))
        again.launcher.succeed(resumed.submission_id)
        await again.turn(2)
        assert (await again.job(alive))["status"] == "succeeded"
        assert [e["seq"] for e in await log_of(again, alive)] == list(
            range(1, len(await log_of(again, alive)) + 1)
        )
        assert (await again.submit(name="new"))["status"] == "queued"


async def test_a_database_that_is_not_empty_is_left_as_it_is(places, tmp_path):
    old, new = places
    backups = tmp_path / "backups"
    backups.mkdir()
    for settings in places:
        async with running(settings, FakeLauncher()) as world:
            await world.submit(name=settings.storage.parent.name)
    run(commands(1)[0], old, backups)
    with pytest.raises(AssertionError, match="already exists"):
        run(commands(2)[0], new, backups)
    async with running(new, FakeLauncher(), key=world.key) as again:
        assert [job["name"] for job in (await again.get("/v1/jobs"))["data"]] == ["new"]
