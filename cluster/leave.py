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

DRIVER = ("cluster.driver",)
AT_WORK = (*DRIVER, "ray::RayTrainWorker", "ray::RolloutActor", "ray::RewardActor")
"""Parts of command lines: processes that a checkpoint needs."""


def leave(
    folder: JobFolder,
    attempt: int,
    seconds: float,
    runs_here: Callable[[tuple[str, ...]], bool],
) -> bool:
    """Ask for a stop and wait for the attempt's last word. False when `seconds` did not suffice.

    Returns at once when nothing of the job runs in this pod. Its driver may still have events to
    send and files to copy when the learners are done.
    """
    deadline = time.monotonic() + seconds
    while runs_here(DRIVER if is_over(folder, attempt) else AT_WORK):
        if not is_over(folder, attempt):
            # Again and again: the driver of a resumed attempt takes an old request away. The reason
            # comes first, for whoever finds the attempt gone.
            folder.leaving(attempt).touch()
            folder.stop_flag.touch()
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_over(folder: JobFolder, attempt: int) -> bool:
    """Whether the attempt's learners have said their last word, or the job is gone."""
    done = (folder.result, folder.outcome(attempt))
    return not folder.root.exists() or any(path.exists() for path in done)


def running_here(parts: tuple[str, ...]) -> bool:
    """Whether processes with one of these in their command line run in this pod."""
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(part in command for part in parts):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Have the job checkpoint before this pod goes.")
    parser.add_argument("--job", type=Path, required=True, help="the job's folder")
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="longest wait")
    given = parser.parse_args()
    if not leave(JobFolder(given.job), given.attempt, given.seconds, running_here):
        print(f"no checkpoint within {given.seconds:g} s; the newest one before will do")


if __name__ == "__main__":
    main()
