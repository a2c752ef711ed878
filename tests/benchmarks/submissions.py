"""Jobs accepted in a second: python -m tests.benchmarks.submissions [--jobs 300] [--ray-jobs 10]

Prints one JSON line for POST /v1/jobs (checked, stored and queued when it answers), by one client after
another and by eight at once; and, unless `--ray-jobs 0`, one for Ray's own job server on this machine,
whose POST stores a job and starts its supervisor.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.benchmarks.plane import Plane, percentiles, plane, say

AT_ONCE = 8


def submit(found: Plane, jobs: int, clients: int) -> tuple[float, list[float]]:
    """Jobs a second, and the seconds of each."""
    spec = found.spec()

    def one_client(_: int) -> list[float]:
        seconds = []
        with httpx.Client(base_url=found.url, headers=found.headers, timeout=60) as client:
            for _ in range(jobs // clients):
                began = time.perf_counter()
                client.post("/v1/jobs", json=spec).raise_for_status()
                seconds.append(time.perf_counter() - began)
        return seconds

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        found_seconds = [
            second for part in threads.map(one_client, range(clients)) for second in part
        ]
    return len(found_seconds) / (time.perf_counter() - began), found_seconds


def submit_to_ray(folder: Path, jobs: int) -> tuple[float, list[float]]:
    """The same of Ray's job server, one after another."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.job_submission import JobSubmissionClient

    from cluster.local import LocalCluster

    cluster = LocalCluster(folder / "ray")
    cluster.start()
    try:
        client, seconds = JobSubmissionClient(cluster.dashboard_url), []
        for _ in range(jobs):
            began = time.perf_counter()
            client.submit_job(entrypoint="true")
            seconds.append(time.perf_counter() - began)
        return jobs / sum(seconds), seconds
    finally:
        cluster.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--ray-jobs", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with plane(folder, reconcile="false") as found:
            for clients in (1, AT_ONCE):
                rate, seconds = submit(found, args.jobs, clients)
                figures = {"per_second": round(rate, 1), "milliseconds": percentiles(seconds)}
                say("submissions", to="rlhf-service", clients=clients, jobs=args.jobs, **figures)
        if args.ray_jobs:
            rate, seconds = submit_to_ray(folder, args.ray_jobs)
            figures = {"per_second": round(rate, 2), "milliseconds": percentiles(seconds)}
            say("submissions", to="Ray's job server", clients=1, jobs=args.ray_jobs, **figures)


if __name__ == "__main__":
    main()
