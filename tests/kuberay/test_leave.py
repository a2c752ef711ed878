"""A pod that goes has its job checkpoint first, and an attempt goes on when it comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from cluster.driver import go_on
from cluster.leave import leave
from cluster.outcome import Outcome
from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder
from tests.kuberay.conftest import wait_until


def folder_at(path: Path) -> JobFolder:
    folder = JobFolder(path / "job-1")
    folder.events.mkdir(parents=True)
    return folder


def learners(parts: tuple[str, ...]) -> bool:
    """A worker's pod."""
    return any("RayTrainWorker" in part for part in parts)


def test_the_head_waits_for_its_driver_too(tmp_path):
    """It sends its last events and copies files after the learners' last word."""
    folder = folder_at(tmp_path)
    Outcome(StopReason.COMPLETED).write(folder, 1)
    looks = iter([True, True, False])
    assert leave(folder, 1, 60, lambda parts: next(looks))
    assert next(looks, None) is None and not folder.stop_flag.exists()
    assert not leave(folder, 1, 0.0, lambda parts: True)


def test_it_asks_and_waits_for_the_last_word(tmp_path):
    folder = folder_at(tmp_path)
    left: list[bool] = []
    pods = [
        threading.Thread(target=lambda: left.append(leave(folder, 2, 60, learners)))
        for _ in range(3)
    ]
    for pod in pods:
        pod.start()
    wait_until(folder.stop_flag.exists, "the request to stop")
    assert folder.leaving(2).exists()
    Outcome(StopReason.CANCELLED_BY_USER).write(folder, 1)  # an older attempt's
    assert left == []
    Outcome(StopReason.CANCELLED_BY_USER).write(folder, 2)
    for pod in pods:
        pod.join(timeout=30)
    assert left == [True, True, True]


def test_a_pod_with_nothing_at_work_goes_at_once(tmp_path):
    folder = folder_at(tmp_path)
    assert leave(folder, 1, 60, lambda parts: False)
    assert not folder.stop_flag.exists() and not folder.leaving(1).exists()


def test_a_finished_job_holds_up_no_pod(tmp_path):
    folder = folder_at(tmp_path)
    folder.result.write_text("{}")
    assert leave(folder, 1, 60, learners)
    assert leave(JobFolder(tmp_path / "deleted"), 1, 60, learners)


def test_it_gives_up_when_its_time_is_over(tmp_path):
    assert not leave(folder_at(tmp_path), 1, 0.0, learners)


def test_the_hook_is_a_program(tmp_path):
    folder = folder_at(tmp_path)
    command = [sys.executable, "-m", "cluster.leave", "--job", str(folder.root), "--attempt", "1"]
    done = subprocess.run([*command, "--seconds", "0.1"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_resumed_attempt_forgets_the_stop_that_ended_its_cluster(tmp_path):
    folder = folder_at(tmp_path)
    (folder.events / "a1-driver.jsonl").touch()
    folder.stop_flag.touch()
    folder.leaving(1).touch()
    Outcome(StopReason.CANCELLED_BY_USER).write(folder, 1)
    go_on(folder, 1)
    assert not folder.leaving(1).exists()
    assert not folder.stop_flag.exists() and Outcome.read(folder, 1) is None


def test_a_first_life_heeds_a_stop_that_came_before_it(tmp_path):
    folder = folder_at(tmp_path)
    folder.stop_flag.touch()
    go_on(folder, 1)
    assert folder.stop_flag.exists()


def test_a_failure_stays_one(tmp_path):
    folder = folder_at(tmp_path)
    (folder.events / "a1-driver.jsonl").touch()
    Outcome(StopReason.NON_FINITE_LOSS, "loss is NaN").write(folder, 1)
    go_on(folder, 1)
    assert Outcome.read(folder, 1) is not None
