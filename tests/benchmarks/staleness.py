"""Steps a minute of a job that samples ahead against one that does not, on a real cluster.

    python -m tests.benchmarks.staleness [--pairs 2] [--steps 12] [--max-staleness 1]

Starts an embedded service and posts the same PPO job in turns with staleness 0 and with more, one
thread for each role. Prints one JSON line: for each kind the median seconds of a step and of its
phases, what was generated and scored ahead, steps a minute, and the ratio of these. The first two
steps of each job are warm-up and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

from api.embedded import Embedded
from rlhf_service.client import Client
from rlhf_service.events import StepCompleted
from rlhf_service.reports import PpoReport

JOB_SECONDS = 900
WARM_UP = 2
WORDS = "a good film that was warm and full of fun but cold dull mess in the end of it all".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2, help="jobs of each kind")
    parser.add_argument("--steps", type=int, default=12, help=f"of each job, {WARM_UP} for warm-up")
    parser.add_argument("--max-staleness", type=int, default=1)
    args = parser.parse_args()
    kinds = (0, args.max_staleness)
    found: dict[int, list[PpoReport]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Embedded(folder / "service", 0, (folder,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            for _ in range(args.pairs):
                for kind in kinds:
                    found[kind] += reports(client, job(folder, args.steps, kind))
    rows = {str(kind): figures(found[kind]) for kind in kinds}
    rate = rows[str(kinds[1])]["steps_per_minute"] / rows["0"]["steps_per_minute"]
    print(json.dumps({"benchmark": "staleness", "jobs": rows, "ratio": round(rate, 3)}))


def job(folder: Path, steps: int, max_staleness: int) -> dict[str, Any]:
    """GRPO on a network from scratch, whose sampling and learning take about as long."""
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
    return {
        "name": f"staleness-{max_staleness}",
        "model": {
            **{"type": "scratch", "hidden_size": 256, "num_layers": 4, "num_heads": 4},
            **{"context_length": 128, "vocab_size": 1024},
        },
        "stages": [
            {
                **{"type": "grpo", "prompts": {"path": str(path)}, "steps": steps},
                **{"prompts_per_step": 16, "samples_per_prompt": 4, "max_prompt_length": 16},
                **{"sampling": {"max_new_tokens": 64}, "ppo": {"epochs": 1}},
                **{"reward": {"type": "repetition"}, "max_staleness": max_staleness},
                "preflight": {"enabled": False},
            }
        ],
        "resources": {
            "learner": {"cpus_per_worker": 0.5, "threads": 1},
            "rollout": {"threads": 1},
            "reward": {"threads": 1},
        },
        "checkpoint": {"every": 1000},
    }


def reports(client: Client, spec: dict[str, Any]) -> list[PpoReport]:
    """Of a job's steps after the warm-up."""
    name = client.jobs.create(spec).id
    deadline = time.monotonic() + JOB_SECONDS
    while not client.jobs.get(name).status.is_terminal:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} took over {JOB_SECONDS} s")
        time.sleep(0.5)
    events = [stored.event for stored in client.jobs.events(name)]
    found = [e for e in events if isinstance(e, StepCompleted) and e.step > WARM_UP]
    return [e.report for e in found if isinstance(e.report, PpoReport)]


def figures(found: list[PpoReport]) -> dict[str, Any]:
    phases = {
        name: round(median(getattr(report.seconds, name) for report in found), 3)
        for name in type(found[0].seconds).model_fields
    }
    ahead = {
        name: round(median(getattr(report.ahead_seconds, name) for report in found), 3)
        for name in type(found[0].ahead_seconds).model_fields
    }
    # Rather than from the clock between steps: evaluations and start-up are no part of a step.
    rate = 60 / (sum(report.seconds.total for report in found) / len(found))
    return {
        "steps": len(found),
        "steps_per_minute": round(rate, 2),
        "seconds": phases,
        "ahead_seconds": ahead,
    }


if __name__ == "__main__":
    main()
