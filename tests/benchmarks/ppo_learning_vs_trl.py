"""How much reward PPO here and TRL 0.24's PPO reach at the same KL, and after the same steps.

    make peers    # once: TRL in environments of its own
    python -m tests.benchmarks.ppo_learning_vs_trl [--steps 30] [--seeds 0 1]

The same taught network, prompts, rule as reward, KL coefficient and number of responses on both
sides. Reward is the share of even token ids in a response; KL is to the network as it began, k1
summed over a response. Prints one JSON line: both series by step, averaged over seeds, and reward
at KL values that both sides passed, from series smoothed over five steps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers.build import build_realistic
from tests.benchmarks.peers.compare import told_by_turns
from tests.benchmarks.peers.lockstep import Figures
from tests.benchmarks.peers.workload import Prepared
from tests.benchmarks.ppo_vs_trl import PEER, workload

SMOOTH = 5
"""Steps that a moving average covers."""
POINTS = 5
"""KL values at which rewards are compared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--peer", type=Path, default=PEER, help="python of TRL's environment")
    parser.add_argument("--keep", type=Path, help="folder for the workload and the logs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        taught = Prepared((args.keep or Path(place)) / "realistic")
        if not taught.model.exists():
            taught = build_realistic(workload("realistic", 1), taught.folder)
        peer = [str(args.peer), "-m", "tests.benchmarks.peers.trl_ppo"]
        runs = [
            told_by_turns(seeded(taught, seed, Path(place)), peer, args.steps)[0]
            for seed in args.seeds
        ]
        told = {"steps": args.steps, "seeds": args.seeds, **outcome(runs)}
        print(json.dumps({"benchmark": "ppo_learning_vs_trl", **told}))


def seeded(taught: Prepared, seed: int, place: Path) -> Prepared:
    """The workload with another seed, in steps of few responses so that there can be many."""
    prepared = Prepared(place / f"seed-{seed}")
    base = replace(workload("realistic", 1), prompts_per_step=16, limit=32, micro_batch=16)
    prepared.write(replace(base, seed=seed), taught.prompts())
    shutil.copytree(taught.model, prepared.model)
    return prepared


def outcome(runs: Sequence[dict[str, list[Figures]]]) -> dict[str, Any]:
    """By step, and at equal KL, of every seed's two sides."""
    return {
        **{name: by_step([run[name] for run in runs]) for name in ("ours", "peer")},
        "at_equal_kl": at_equal_kl(runs),
    }


def by_step(runs: Sequence[list[Figures]]) -> dict[str, list[float]]:
    """Means over seeds."""
    return {
        what: [round(float(v), 3) for v in np.mean([[f[what] for f in run] for run in runs], 0)]
        for what in ("reward", "kl")
    }


def at_equal_kl(runs: Sequence[dict[str, list[Figures]]]) -> list[dict[str, float]]:
    """Mean reward of each side over the seeds, at KL values that every run passed."""
    curves = [{name: smoothed(run[name]) for name in ("ours", "peer")} for run in runs]
    top = min(curve[name][0][-1] for curve in curves for name in curve)
    low = max(curve[name][0][0] for curve in curves for name in curve)
    found = []
    for kl in np.linspace(low, top, POINTS):
        rewards = {
            name: float(np.mean([np.interp(kl, *curve[name]) for curve in curves]))
            for name in ("ours", "peer")
        }
        found.append({"kl": round(float(kl), 3), **{k: round(v, 4) for k, v in rewards.items()}})
    return found


def smoothed(steps: Sequence[Figures]) -> tuple[np.ndarray, np.ndarray]:
    """KL, made to rise only, and reward: both moving averages."""
    window = np.ones(SMOOTH) / SMOOTH
    kl, reward = (
        np.convolve([f[what] for f in steps], window, mode="valid") for what in ("kl", "reward")
    )
    return np.maximum.accumulate(kl), reward


if __name__ == "__main__":
    main()
