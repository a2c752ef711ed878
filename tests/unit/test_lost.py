"""A job's folder that is taken away: what is still said, and what stays of its copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.lost import lost
from cluster.sinks import JsonlSink
from rlhf_service.artefacts.fsspec import FsspecArtefacts
from rlhf_service.artefacts.mirror import Mirror
from rlhf_service.artefacts.restore import restore
from rlhf_service.events import Log
from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder
from rlhf_service.testing_artefacts import FakeArtefacts
from tests.unit.test_artefacts import checkpoint, job
from tests.unit.test_sinks_faults import heard_by


def test_with_copies_the_next_attempt_goes_on_without_them_the_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job(tmp_path / "job-1")
    assert lost(folder) is None
    shutil.rmtree(folder.root)
    monkeypatch.delenv("RLHF_JOB_ARTEFACTS", raising=False)
    end = lost(folder)
    assert end is not None and end.reason is StopReason.STORAGE_FAILED and not end.retryable
    assert str(folder.root) in end.message and "retry the job" in end.message
    monkeypatch.setenv("RLHF_JOB_ARTEFACTS", "s3://bucket/jobs/job-1")
    end = lost(folder)
    assert end is not None and end.retryable and "s3://bucket/jobs/job-1" in end.message


def moved(path: Path) -> None:
    path.rename(path.with_name("taken"))


@pytest.mark.parametrize("take", [shutil.rmtree, moved])
def test_what_is_said_after_the_loss_is_on_disk_and_arrives(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    folder = job(tmp_path / "job-1")
    (folder.events / "a1-driver.jsonl").unlink()
    got: list[tuple[int, str]] = []
    forwarder = heard_by(folder, got)
    sink = JsonlSink(folder, "job-1", 1, "a1-driver")
    sink.emit(Log(message="a long sentence that was said before the folder went"))
    assert forwarder._pass()
    take(folder.root)
    sink.emit(Log(message="after"))
    assert forwarder._pass() and not forwarder._pass()
    assert [number for number, _ in got] == [1, 2] and got[1][1] == "after"


def test_copies_outlive_their_original(tmp_path: Path) -> None:
    folder = job(tmp_path / "job-1")
    checkpoint(folder, "ppo", 4)
    copies = FsspecArtefacts((tmp_path / "copies").as_uri())
    mirror = Mirror(folder, copies, print)
    mirror.copy()
    kept = copies.sizes()
    shutil.rmtree(folder.root)
    checkpoint(folder, "ppo", 9)  # by learners that had not heard of it
    mirror.copy()
    assert copies.sizes() == kept and any("ppo-step-000004" in name for name in kept)


class Taken(FakeArtefacts):
    """Takes the original away while the file `name` is copied."""

    def __init__(self, original: Path, name: str) -> None:
        super().__init__()
        self._original, self._name = original, name

    def put(self, name: str, source: Path) -> None:
        super().put(name, source)
        if name == self._name:
            shutil.rmtree(self._original)


@pytest.mark.parametrize("file", ["policy/model.bin", "MANIFEST"])
def test_a_folder_that_goes_while_its_newest_checkpoint_is_copied_leaves_a_whole_one(
    tmp_path: Path, file: str
) -> None:
    """Of the older one nothing was left to copy, and of the newer not yet all was there."""
    folder = job(tmp_path / "job-1")
    copies = Taken(folder.root, f"checkpoints/ppo-step-000008/{file}")
    mirror = Mirror(folder, copies, print)
    old = checkpoint(folder, "ppo", 4)
    mirror.copy()
    shutil.rmtree(old)
    checkpoint(folder, "ppo", 8)
    with suppress(FileNotFoundError):
        mirror.copy()
    assert not folder.root.exists()
    came = restore(JobFolder(tmp_path / "again"), copies)
    assert came == [f"checkpoint ppo-step-00000{8 if file == 'MANIFEST' else 4}"]
