"""PPO here against TRL's PPO: the same model, prompts, reward, batch, epochs, lengths and threads.

    make peers    # once: TRL in an environment of its own
    python -m tests.benchmarks.ppo_vs_trl [--workload fixed|realistic] [--steps 8]

Both sides take turns, step by step, so that what else the machine does slows both alike. Prints one
JSON line: seconds a step and by phase, peak memory, response tokens, reward and KL of both, the
median of the steps' ratios, and the share of the machine's matrix-product peak that this project's
update reaches. The first step of each is warm-up and left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.peers.build import build_fixed, build_realistic
from tests.benchmarks.peers.lockstep import Figures, every, side
from tests.benchmarks.peers.workload import Prepared, Workload

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".venv-peers" / "bin" / "python"

BUILD: Mapping[str, Callable[[Workload, Path], Prepared]] = {
    "fixed": build_fixed,
    "realistic": build_realistic,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", choices=BUILD, default="fixed")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--peer", type=Path, default=PEER, help="python of TRL's environment")
    parser.add_argument("--keep", type=Path, help="folder for the workload and the logs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = args.keep or Path(place)
        prepared = Prepared(folder / args.workload)
        if not prepared.model.exists():
            prepared = BUILD[args.workload](workload(args.workload), prepared.folder)
        print(json.dumps(compare(prepared, args.peer, args.steps)))


def workload(name: str) -> Workload:
    return Workload(
        name=name,
        method="ppo",
        prompts_per_step=64,
        samples_per_prompt=1,
        limit=64,
        epochs=4,
        micro_batch=16,
        learning_rate=1e-4,
        kl_coef=0.05,
        threads=1,
        seed=0,
    )


def compare(prepared: Prepared, peer: Path, steps: int) -> dict[str, Any]:
    told: dict[str, list[Figures]] = {"ours": [], "trl": []}

    def tell(name: str, figures: Figures) -> None:
        told[name].append(figures)
        print(name, json.dumps(figures), file=sys.stderr, flush=True)

    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(prepared.workload().threads)}
    target = str(prepared.folder)
    here = [sys.executable, "-m", "tests.benchmarks.peers.ours", target]
    there = [str(peer), "-m", "tests.benchmarks.peers.trl_ppo", target]
    with (
        side("ours", here, prepared.folder / "ours.log", settings) as ours,
        side("trl", there, prepared.folder / "trl.log", settings) as trl,
    ):
        every(steps + 1, [ours, trl], tell)
        parameters = ours.ready["parameters"]
    peak = matmul_flops(prepared.workload().threads)
    mine, theirs = told["ours"][1:], told["trl"][1:]
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(mine, theirs, strict=True)]
    return {
        "benchmark": "ppo_vs_trl",
        "workload": prepared.workload().name,
        "parameters": parameters,
        "steps": steps,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "ours": medians(mine),
        "trl": medians(theirs),
        "peak_gflops": round(peak / 1e9, 1),
        "update_share_of_peak": round(update_share(prepared.workload(), parameters, mine, peak), 3),
    }


def medians(steps: Sequence[Figures]) -> dict[str, Any]:
    """Of seconds and sizes; reward and KL of the last step."""

    def median(values: Iterable[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "seconds": median(f["seconds"] for f in steps),
        "phases": {name: median(f["phases"][name] for f in steps) for name in steps[0]["phases"]},
        "response_tokens": median(f["response_tokens"] for f in steps),
        "peak_mib": round(max(f["peak_bytes"] for f in steps) / 2**20),
        "reward": [round(f["reward"], 3) for f in steps],
        "kl": [round(f["kl"], 3) for f in steps],
    }


def update_share(
    workload: Workload, parameters: int, steps: Sequence[Figures], peak: float
) -> float:
    """Useful arithmetic of the update (6 operations a weight and token, two networks) over what the
    machine could have done in that time.
    """
    flops = [6 * parameters * 2 * workload.epochs * f["sequence_tokens"] for f in steps]
    seconds = [f["phases"]["update"] for f in steps]
    return sum(flops) / sum(seconds) / peak


def matmul_flops(threads: int) -> float:
    """Operations a second of torch's own fp32 matrix product: the best of several."""
    torch.set_num_threads(threads)
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


if __name__ == "__main__":
    main()
