"""The driver keeps copies where its environment says, and brings back what is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_service.artefacts.mirror import Mirror
from rlhf_service.events import JobStopped
from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder
from tests.unit.test_artefacts import checkpoint, job


def test_a_new_attempt_finds_the_newest_checkpoint_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.driver import last_word, mirroring
    from cluster.sinks import JsonlSink

    monkeypatch.setenv("RLHF_JOB_ARTEFACTS", str(tmp_path / "copies"))
    first = job(tmp_path / "one")
    sink = JsonlSink(first, "job-1", 1, "a1-driver")
    mirror = mirroring(first, sink)
    assert isinstance(mirror, Mirror)
    checkpoint(first, "ppo", 5)
    last_word(JobStopped(reason=StopReason.STALLED, retryable=True), sink, mirror)

    second = JobFolder(tmp_path / "two")
    sink = JsonlSink(second, "job-1", 2, "a2-driver")
    mirror = mirroring(second, sink)
    assert mirror is not None
    mirror.close(10)
    assert (second.checkpoints / "ppo-step-000005" / "MANIFEST").exists()
    assert "job_stopped" in (second.events / "a1-driver.jsonl").read_text()
    assert "brought back" in (second.events / "a2-driver.jsonl").read_text()


def test_copies_that_cannot_be_read_are_an_event_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.driver import last_word, mirroring
    from cluster.sinks import JsonlSink

    monkeypatch.setenv("RLHF_JOB_ARTEFACTS", "nowhere://bucket")
    folder = job(tmp_path / "one")
    sink = JsonlSink(folder, "job-1", 1, "a1-driver")
    assert mirroring(folder, sink) is None
    last_word(JobStopped(reason=StopReason.COMPLETED), sink, None)
    said = (folder.events / "a1-driver.jsonl").read_text()
    assert "cannot be read" in said and '"completed"' in said
