"""A job of many steps: python -m tests.benchmarks.long_job [--steps 10000]

Posts steps as a driver does and, after each thousand, asks for the last page of events, thinned-out
metrics and the report. Prints one JSON line: the seconds of each thousand, flat for ingest and for
a page; for what is made of the whole log they grow with it, not faster.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.plane import Plane, plane, say

BATCH = 100


def record(job: str, number: int, steps: int) -> dict[str, Any]:
    report = {
        "loss": 2.0, "tokens": 64, "grad_norm": 1.0, "learning_rate": 1e-4, "seconds": 0.5,
        "tokens_per_second": 128.0,
    }  # fmt: skip
    event = {"type": "step", "stage": "sft", "step": number, "steps": steps}
    return {
        "job_id": job, "attempt": 1, "producer": "a1-learner-1-0", "producer_seq": number,
        "created_at": "2026-01-01T00:00:00Z",
        "event": {**event, "report": {"kind": "supervised", **report}},
    }  # fmt: skip


def measure(found: Plane, steps: int, every: int) -> dict[str, list[float]]:
    with httpx.Client(base_url=found.url, headers=found.headers, timeout=120) as client:
        job = client.post("/v1/jobs", json=found.spec()).raise_for_status().json()["id"]
        while client.get(f"/v1/jobs/{job}").json()["status"] == "queued":
            time.sleep(0.05)
        own = found.driver_headers(job)
        seconds: dict[str, list[float]] = {"ingest": [], "page": [], "metrics": [], "report": []}
        for begin in range(0, steps, every):
            started = time.perf_counter()
            for first in range(begin + 1, begin + every + 1, BATCH):
                records = [record(job, n, steps) for n in range(first, first + BATCH)]
                answer = client.post(
                    f"/v1/internal/jobs/{job}/events", json={"events": records}, headers=own
                )
                assert answer.raise_for_status().json()["accepted"] == BATCH
            seconds["ingest"].append(round(time.perf_counter() - started, 3))
            for name, path in (
                ("page", f"events?after={begin + every - 100}"),
                ("metrics", "metrics?points=500"),
                ("report", "report.json"),
            ):
                started = time.perf_counter()
                client.get(f"/v1/jobs/{job}/{path}").raise_for_status()
                seconds[name].append(round(time.perf_counter() - started, 3))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1000, help="a multiple of 100")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, plane(Path(name)) as found:
        say(
            "long_job",
            steps=args.steps,
            every=args.every,
            seconds=measure(found, args.steps, args.every),
        )


if __name__ == "__main__":
    main()
