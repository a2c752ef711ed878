"""What each recipe gains over its own baseline on held-out data, seed by seed.

    python -m tests.benchmarks.applications [--recipes translation …] [--seeds 0 1 2]

Runs the recipes' jobs one after the other on an embedded service: on real data, from nothing (or from
SmolLM2) to a compared evaluation. Says each run on stderr when it ends, and prints
one JSON line: for each run its end, seconds from POST to end, the greatest memory of all processes
together (proportional set size), and every figure before and after with the paired bootstrap's
interval and p. Exit code 1 when a run failed or its first figure, the reward, did not rise beyond
chance.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import psutil

from api.embedded import Embedded
from rlhf_service.client import Client
from rlhf_service.events import EvaluationCompared
from rlhf_service.job import JobStatus
from rlhf_service.recipes.catalogue import RECIPES

APPLICATIONS = ("translation", "summarisation", "question-answering", "generation")
MEMORY_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=APPLICATIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="applications-") as name:
        folder = Path(name)
        with (
            Embedded(folder / "service", 0, (folder,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            runs = [
                said(one(client, recipe, folder / recipe / str(seed), seed))
                for recipe in args.recipes
                for seed in args.seeds
            ]
    print(json.dumps({"benchmark": "applications", "cores": os.cpu_count(), "runs": runs}))
    return 0 if all(run["risen"] for run in runs) else 1


def one(client: Client, recipe: str, data: Path, seed: int) -> dict[str, Any]:
    """Run a recipe to its end."""
    spec = RECIPES[recipe].build(data, seed)
    begun = time.monotonic()
    with PeakMemory() as memory:
        job = client.jobs.create(spec)
        compared = [
            record.event
            for record in client.jobs.stream(job.id)
            if isinstance(record.event, EvaluationCompared)
        ]
    seconds = time.monotonic() - begun
    ended = client.jobs.get(job.id)
    figures = compared[-1].differences if compared else ()
    return {
        **{"recipe": recipe, "seed": seed, "end": ended.status.value, "message": ended.message},
        **{"seconds": round(seconds, 1), "memory_gib": round(memory.peak / 2**30, 2)},
        "risen": ended.status is JobStatus.SUCCEEDED and bool(figures) and figures[0].rose,
        "figures": [found.model_dump() for found in figures],
    }


def said(run: dict[str, Any]) -> dict[str, Any]:
    """The run, shown at once: a benchmark of an hour must not lose what it has."""
    print(json.dumps(run), file=sys.stderr, flush=True)
    return run


class PeakMemory:
    """The greatest memory that this process and all below it hold together, looked at now and then."""

    def __init__(self) -> None:
        self.peak = 0
        """Bytes; pages that several processes share are counted once."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(MEMORY_SECONDS):
            root = psutil.Process()
            self.peak = max(self.peak, sum(map(held, [root, *root.children(recursive=True)])))


def held(process: psutil.Process) -> int:
    """Bytes of a process, each page divided among those that map it; 0 when it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    sys.exit(main())
