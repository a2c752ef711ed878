"""How long a job takes from POST to its first step, and where that time goes.

    python -m tests.benchmarks.start_up [--jobs 3]

Starts an embedded service, posts a tiny SFT → reward model → PPO job several times, and prints one
JSON line: seconds after the POST at which each process was started and each first step was done.
The first job finds cold caches; the medians are of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import psutil

from api.embedded import Embedded
from rlhf_service.client import Client
from rlhf_service.events import StepCompleted

JOB_SECONDS = 600
LANDMARKS = {
    "supervisor": "JobSupervisor",
    "driver": "cluster.driver --job",
    "controller": "TrainController",
    "learner": "RayTrainWorker",
    "rollout": "RolloutActor",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3, help="at least 2; the first is the cold one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Embedded(folder / "service", 0, (folder,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            runs = [time_job(service, client, tiny_job(folder)) for _ in range(args.jobs)]
    warm = {
        landmark: round(statistics.median(run[landmark] for run in runs[1:]), 2)
        for landmark in runs[0]
        if all(landmark in run for run in runs)
    }
    print(json.dumps({"benchmark": "start_up", "warm": warm, "runs": runs}))


def tiny_job(folder: Path) -> dict[str, Any]:
    """A pipeline whose own work is next to nothing."""
    words = ["a good film", "a bad film", "good and warm", "dull and bad"]
    rows = {
        "sft": [{"prompt": "", "completion": text} for text in words * 8],
        "pairs": [{"prompt": "", "chosen": words[0], "rejected": words[1]}] * 16,
        "prompts": [{"prompt": text.split()[0]} for text in words],
    }
    paths = {}
    for kind, content in rows.items():
        paths[kind] = str(folder / f"{kind}.jsonl")
        Path(paths[kind]).write_text("".join(json.dumps(row) + "\n" for row in content))
    common = {"steps": 2, "batch_size": 4, "max_length": 16}
    return {
        "name": "start-up",
        "model": {
            **{"type": "scratch", "hidden_size": 16, "num_layers": 1, "num_heads": 2},
            **{"context_length": 64, "vocab_size": 300},
        },
        "stages": [
            {"type": "sft", "data": {"path": paths["sft"]}, **common},
            {"type": "reward", "data": {"path": paths["pairs"]}, **common},
            {
                "type": "ppo",
                "prompts": {"path": paths["prompts"]},
                "reward": {"type": "reward_model", "model": {"type": "stage", "stage": "reward"}},
                "steps": 2,
                "prompts_per_step": 4,
                "max_prompt_length": 8,
                "sampling": {"max_new_tokens": 8},
            },
        ],
    }


def time_job(service: Embedded, client: Client, spec: dict[str, Any]) -> dict[str, float]:
    """Seconds after the POST at which each landmark was passed."""
    assert service.cluster.pid is not None
    root = psutil.Process(service.cluster.pid)
    posted = time.time()
    job = client.jobs.create(spec).id
    passed = {"accepted": time.time() - posted}
    deadline = time.monotonic() + JOB_SECONDS
    while not client.jobs.get(job).status.is_terminal:
        assert time.monotonic() < deadline, f"{job} takes more than {JOB_SECONDS} s"
        note_processes(root, posted, passed)
        time.sleep(0.05)
    ended = client.jobs.get(job)
    assert ended.status == "succeeded", ended.message
    for stored in client.jobs.events(job):
        said = stored.event
        if isinstance(said, StepCompleted) and said.step == 1:
            passed[f"first {said.stage} step"] = stored.created_at.timestamp() - posted
    passed["end"] = time.time() - posted
    return {landmark: round(at, 2) for landmark, at in passed.items()}


def note_processes(root: psutil.Process, posted: float, passed: dict[str, float]) -> None:
    """Note each landmark process begun since the POST."""
    for process in root.children(recursive=True):
        try:
            title, begun = " ".join(process.cmdline()), process.create_time() - posted
        except psutil.Error:
            continue
        for landmark, part in LANDMARKS.items():
            if part in title and begun > 0:
                passed[landmark] = min(begun, passed.get(landmark, begun))


if __name__ == "__main__":
    main()
