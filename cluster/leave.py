"""What a pod of a job does before it goes: have the job checkpoint and stop, and wait for that.

    python -m cluster.leave --job FOLDER --attempt N --seconds S

Run as the pod's preStop hook. Kubernetes takes the pods of a cluster away side by side, so each of
them asks and each of them waits; the job's folder is where they meet.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from rlhf_service.storage import JobFolder

POLL_SECONDS = 0.5

AT_WORK = ("cluster.driver", "ray::RayTrainWorker", "ray::RolloutActor", "ray::RewardActor")
"""Parts of command lines: processes that a checkpoint needs."""


def leave(folder: JobFolder, attempt: int, seconds: float, at_work: Callable[[], bool]) -> bool:
    """Ask for a stop and wait for the attempt's last word. False when `seconds` did not suffice.

    Returns at once when the job is over, or when nothing of it runs in this pod.
    """
    deadline = time.monotonic() + seconds
    while not is_over(folder, attempt):
        if not at_work():
            return True
        # Again and again: the driver of a resumed attempt takes an old request away.
        folder.stop_flag.touch()
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_over(folder: JobFolder, attempt: int) -> bool:
    """Whether the attempt's learners have said their last word, or the job is gone."""
    done = (folder.result, folder.outcome(attempt))
    return not folder.root.exists() or any(path.exists() for path in done)


def works_here() -> bool:
    """Whether processes of a job run in this pod."""
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(part in command for part in AT_WORK):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Have the job checkpoint before this pod goes.")
    parser.add_argument("--job", type=Path, required=True, help="the job's folder")
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="longest wait")
    given = parser.parse_args()
    if not leave(JobFolder(given.job), given.attempt, given.seconds, works_here):
        print(f"no checkpoint within {given.seconds:g} s; the newest one before will do")


if __name__ == "__main__":
    main()
