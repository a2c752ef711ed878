"""Several jobs in a row through REST, then a look at what they left behind.

    python -m tests.benchmarks.soak [--jobs 3] [--ppo-steps 26]

Each job is the demo's pipeline. Prints one JSON line: for each job its end and seconds, and what was
left after it: actors and placement groups of the job, worker processes, shared-memory segments
outside Ray's own store, and files in the temporary directory; and what is left after the service
has stopped. Exit code 1 when anything is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import psutil

from api.embedded import Embedded
from cluster.launcher import RayJobLauncher
from rlhf_service.client import Client
from rlhf_service.recipes.reviews.data import prepare
from rlhf_service.recipes.reviews.recipe import reviews_spec

JOB_SECONDS = 1200
CLEAR_SECONDS = 60
"""In which the processes of an ended job are gone."""

SHARED_MEMORY = Path("/dev/shm")
PROCESSES_OF_JOBS = ("cluster.driver", "RolloutActor", "RewardActor", "RayTrainWorker", "TrainCont")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--ppo-steps", type=int, default=26)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        before = entries(SHARED_MEMORY), entries(Path(tempfile.gettempdir()))
        with (
            Embedded(folder / "service", 0, (folder,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            data = prepare(folder / "data")
            steady = entries(SHARED_MEMORY), entries(Path(tempfile.gettempdir()))
            runs = []
            for seed in range(args.jobs):
                spec = reviews_spec(data, seed).model_dump(mode="json", exclude_none=True)
                spec["stages"][-1]["steps"] = args.ppo_steps
                runs.append(one(service, client, spec, steady))
            children = psutil.Process().children(recursive=True)
        _, alive = psutil.wait_procs(children, timeout=CLEAR_SECONDS)
        after = {
            "processes": [" ".join(p.cmdline())[:120] for p in alive],
            "shared_memory": sorted(entries(SHARED_MEMORY) - before[0]),
            "temporary": sorted(entries(Path(tempfile.gettempdir())) - before[1]),
        }
    print(json.dumps({"benchmark": "soak", "runs": runs, "after_stop": after}))
    return int(any(after.values()) or any(run["left"] or run["end"] != "succeeded" for run in runs))


def one(
    service: Embedded, client: Client, spec: dict[str, Any], steady: tuple[set[str], set[str]]
) -> dict[str, Any]:
    """Run one job and say what it left."""
    begun = time.monotonic()
    job = client.jobs.create(spec).id
    wait_until(lambda: client.jobs.get(job).status.is_terminal, JOB_SECONDS)
    seconds = time.monotonic() - begun
    launcher = RayJobLauncher(service.cluster.dashboard_url)

    def left() -> dict[str, list[str]]:
        found = {
            "actors_and_groups": launcher.leftovers(job),
            "processes": job_processes(),
            "shared_memory": sorted(entries(SHARED_MEMORY) - steady[0]),
            "temporary": sorted(entries(Path(tempfile.gettempdir())) - steady[1]),
        }
        return {kind: names for kind, names in found.items() if names}

    wait_until(lambda: not left(), CLEAR_SECONDS)
    ended = client.jobs.get(job)
    memory = sum(p.memory_info().rss for p in psutil.Process().children(recursive=True)) / 2**30
    return {
        **{"job": job, "end": ended.status.value, "seconds": round(seconds, 1)},
        **{"left": left(), "service_rss_gib": round(memory, 2)},
    }


def job_processes() -> list[str]:
    """Command lines of live processes that only a job has."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(part in title for part in PROCESSES_OF_JOBS):
            found.append(title[:120])
    return found


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Poll; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.5)
    return true()


if __name__ == "__main__":
    sys.exit(main())
