"""What was backed up while the control plane ran is all there when it is restored elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from api.backup import BackupFailed, create, restore
from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import running, step

pytestmark = pytest.mark.asyncio


def settings_at(storage: Path) -> Settings:
    return Settings(storage=storage, reconcile=False, lost_looks=1, leftover_grace=0.0)


async def test_jobs_events_models_and_keys_are_there_in_another_place(tmp_path):
    old = settings_at(tmp_path / "old")
    archive = tmp_path / "backup.tar"
    async with running(old, FakeLauncher()) as world:
        finished, _ = await world.started()
        model = old.folder(finished).model
        model.mkdir(parents=True)
        (model / "config.json").write_text('{"hidden": 8}')
        os.link(model / "config.json", model / "shared.json")  # as a retried job's are
        world.launcher.succeed(f"{finished}-a1")
        await world.turn(2)
        assert (await world.job(finished))["status"] == "succeeded"
        alive, driver = await world.started(name="goes on")
        await driver.say(step(2))
        driver.spool(step(3))  # on disk, not posted yet
        (old.folder(alive).root / ".spec.json.1.tmp").write_text("half")
        events = await world.get(f"/v1/jobs/{finished}/events", limit=1000)
        models = await world.get("/v1/models")
        assert create(old, archive) > 4  # while it runs

    new = settings_at(tmp_path / "new")
    restore(new, archive)
    assert not list(new.storage.rglob("*.tmp"))
    assert (new.control / "secret").stat().st_mode & 0o077 == 0
    async with running(new, FakeLauncher(), key=world.key) as again:  # the same key
        assert (await again.job(finished))["status"] == "succeeded"
        assert await again.get(f"/v1/jobs/{finished}/events", limit=1000) == events
        found = await again.get("/v1/models")
        assert [m["id"] for m in found["data"]] == [m["id"] for m in models["data"]]
        for name in ("config.json", "shared.json"):
            assert (new.folder(finished).model / name).read_text() == '{"hidden": 8}'
        # The new cluster knows nothing of what ran: another attempt, from what is on disk.
        await again.turn(3)
        job = await again.job(alive)
        assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
        assert job["progress"]["step"] == 3
        assert again.launcher.submits == [f"{alive}-a2"]


async def test_an_archive_is_whole_or_not_there(tmp_path):
    settings = settings_at(tmp_path / "storage")
    async with running(settings, FakeLauncher()):
        pass
    archive = tmp_path / "backup.tar"
    create(settings, archive)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    with tarfile.open(archive) as packed:
        assert packed.getnames()[0] == "control/control.db"
    (tmp_path / "torn.tar").write_bytes(archive.read_bytes()[:700])
    with pytest.raises(BackupFailed, match="could not be unpacked"):
        restore(settings_at(tmp_path / "new"), tmp_path / "torn.tar")


async def test_nothing_is_overwritten_and_mistakes_are_named(tmp_path):
    settings = settings_at(tmp_path / "storage")
    with pytest.raises(BackupFailed, match="RLHF_STORAGE"):
        create(settings, tmp_path / "b.tar")
    settings.storage.mkdir()
    with pytest.raises(BackupFailed, match="RLHF_DATABASE_URL"):
        create(settings, tmp_path / "b.tar")
    with pytest.raises(BackupFailed, match="in the storage itself"):
        create(settings, settings.storage / "b.tar")
    (settings.storage / "file").touch()
    with pytest.raises(BackupFailed, match="not empty"):
        restore(settings, tmp_path / "b.tar")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode, made.uid = kind, link, 0o4777, 4711
    return made


@pytest.mark.parametrize("filters", [True, False])
async def test_an_archive_from_elsewhere_leads_nowhere_else(tmp_path, monkeypatch, filters):
    """With Python's own filters, and without: 3.11.2, Debian's, has none."""
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    bad = [
        member("../outside"),
        member(str(tmp_path / "outside")),
        member("jobs/../../outside"),
        member("jobs", tarfile.SYMTYPE, str(tmp_path)),
        member("jobs/a", tarfile.LNKTYPE, "/etc/passwd"),
        member("jobs/a", tarfile.LNKTYPE, "../outside"),
        member("jobs/pipe", tarfile.FIFOTYPE),
    ]
    new = settings_at(tmp_path / "new")
    for number, wrong in enumerate(bad):
        archive = tmp_path / f"bad-{number}.tar"
        with tarfile.open(archive, "w") as packed:
            packed.addfile(member("jobs/good"))
            packed.addfile(wrong)
        with pytest.raises(BackupFailed, match="no file of a backup"):
            restore(new, archive)
        assert not new.storage.exists() and not (tmp_path / "outside").exists()
    good = tmp_path / "good.tar"
    with tarfile.open(good, "w") as packed:
        packed.addfile(member("jobs/good"))
        packed.addfile(member("jobs/retried", tarfile.LNKTYPE, "jobs/good"))
    restore(new, good)
    there = (new.storage / "jobs" / "good").stat()
    assert there.st_mode & 0o7777 == 0o755 and there.st_uid == os.getuid()
    assert there.st_ino == (new.storage / "jobs" / "retried").stat().st_ino


async def test_the_command_of_the_docs(tmp_path):
    settings = settings_at(tmp_path / "storage")
    async with running(settings, FakeLauncher()):
        pass

    def command(verb: str, storage: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "RLHF_STORAGE": str(tmp_path / storage)}
        words = [sys.executable, "-m", "api.backup", verb, str(tmp_path / "b.tar")]
        return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)

    assert "b.tar: " in command("create", "storage").stdout
    assert command("restore", "elsewhere").returncode == 0
    again = command("restore", "elsewhere")
    assert (
        again.returncode == 1 and again.stderr.startswith("error: ") and "Trace" not in again.stderr
    )
    assert (tmp_path / "elsewhere" / "control" / "control.db").exists()
