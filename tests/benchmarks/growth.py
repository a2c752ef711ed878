"""How a job's cost grows on one machine: batch, length, network and ranks, each doubled by itself.

    python -m tests.benchmarks.growth [--only length]

Each job runs for a few steps by the real stage code on real DeepSpeed engines, every rank a process with
one thread. Prints a table and one JSON line: seconds of the fastest step, the step's useful operations
(6 for each weight and token, and attention's products), and how much the seconds grew for each time the
operations did. Of one rank the seconds are the processor's, of two the clock's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.planner_jobs import Case, fastest, run
from tests.benchmarks.planner_worker import preload

BASE = Case(width=256, layers=4, batch=8, micro=8, length=64, steps=3)
PPO = replace(BASE, kind="ppo", length=32)
ANSWERS = replace(PPO, kind="generate", batch=16)

SERIES: Mapping[str, Sequence[Case]] = {
    "batch": [replace(BASE, batch=n, micro=8) for n in (8, 16, 32)],
    "length": [replace(BASE, length=n) for n in (64, 128, 256, 512)],
    "layers": [replace(BASE, layers=n) for n in (2, 4, 8)],
    "width": [replace(BASE, width=n) for n in (128, 256, 512)],
    "PPO batch": [replace(PPO, batch=n) for n in (8, 16, 32)],
    "responses": [replace(ANSWERS, batch=n) for n in (16, 32, 64)],
    "response length": [replace(ANSWERS, length=n) for n in (32, 64, 128)],
    "ranks": [replace(BASE, batch=16, ranks=n) for n in (1, 2)],
    "ranks, ZeRO 2": [replace(BASE, batch=16, zero=2, ranks=n) for n in (1, 2)],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One job of a series."""

    name: str
    seconds: float
    operations: float
    """Of one rank."""

    def against(self, first: Point) -> float:
        """Growth of the seconds over growth of the operations, from the first job of the series on."""
        return (self.seconds / first.seconds) / (self.operations / first.operations)


def operations(case: Case) -> float:
    """Of a step on one rank: every row at its full length."""
    matrices = case.layers * (4 * case.width**2 + 3 * case.width * inner(case.width))
    head, rows = case.width * case.vocab, case.batch / case.ranks
    tokens = 2 * case.length if case.kind in ("ppo", "generate") else case.length
    scores = 2 * case.layers * case.width * tokens  # of a token with those before it, on average
    read = 2 * tokens * (matrices + scores)
    if case.kind == "generate":
        return rows * (read + 2 * case.length * head)
    # Read and learnt: once by SFT; PPO also recalls by policy, critic and reference, and learns two.
    predicted = 2 * (case.length if case.kind == "ppo" else tokens) * head
    if case.kind == "ppo":
        return rows * (read * (3 + 2 * 3) + predicted * (2 + 3))
    return rows * (read + predicted) * 3


def inner(width: int) -> int:
    """Of the MLP of a Llama-style network from scratch."""
    from rlhf_service.models.build import scratch_config
    from rlhf_service.planning.calibration.networks import Words
    from rlhf_service.spec.model import ScratchModel

    spec = ScratchModel(hidden_size=width, num_layers=1, num_heads=max(1, width // 64))
    return int(scratch_config(spec, Words(300)).intermediate_size)  # type: ignore[arg-type]


def measure(case: Case, root: Path) -> Point:
    _, outs = run(case, root)
    timed = "work" if case.ranks == 1 else "total"
    seconds = max(fastest(out, timed) for out in outs if out["steps"])
    return Point(name=case.name, seconds=seconds, operations=operations(case))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how a job's cost grows.")
    parser.add_argument("--only", default="", help="series with this in their name")
    args = parser.parse_args()
    preload()
    found: dict[str, list[Point]] = {}
    root = Path(tempfile.mkdtemp(prefix="rlhf-growth-"))
    try:
        for series, cases in SERIES.items():
            if args.only not in series:
                continue
            found[series] = [
                measure(case, root / f"{series}-{number}") for number, case in enumerate(cases)
            ]
            print(series, found[series][-1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("| series | job | operations, G | seconds | seconds for each time the operations |")
    print("|---|---|---|---|---|")
    for series, points in found.items():
        for point in points:
            print(
                f"| {series} | {point.name} | {point.operations / 1e9:.1f} | {point.seconds:.3f} "
                f"| {point.against(points[0]):.2f} |"
            )
    grown = {name: [round(p.against(ps[0]), 3) for p in ps] for name, ps in found.items()}
    print(json.dumps({"benchmark": "growth", "grown": grown}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
