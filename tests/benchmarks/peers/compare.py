"""Two sides of a workload, step by step, and what to say of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlhf_service.models.precision import dtype_of
from rlhf_service.models.work import matmul_peak
from tests.benchmarks.peers.lockstep import Figures, every, side
from tests.benchmarks.peers.workload import Prepared, Workload

ROOT = Path(__file__).parents[3]


def arguments(says: str | None, peer: Path) -> argparse.ArgumentParser:
    """What every comparison can be told."""
    parser = argparse.ArgumentParser(
        description=says, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for whose in ("", "peer-"):
        parser.add_argument(
            f"--{whose}precision",
            choices=["fp32", "bf16"],
            help="fp32 on CPUs, bf16 on a GPU unless told",
        )
    parser.add_argument("--peer", type=Path, default=peer, help="python of TRL's environment")
    parser.add_argument("--keep", type=Path, help="folder for the workload and the logs")
    return parser


def with_precisions(workload: Workload, args: argparse.Namespace) -> Workload:
    """The workload in the precisions that the command line names."""
    return replace(
        workload,
        precision=args.precision or workload.precision,
        peer_precision=args.peer_precision or workload.peer_precision,
    )


def told_by_turns(
    prepared: Prepared, peer: Sequence[str], steps: int
) -> tuple[dict[str, list[Figures]], int]:
    """`steps` steps of each side, the first left out; and the policy's number of weights.

    `peer` is the command of the other side, to which the workload's folder is appended.
    """
    told: dict[str, list[Figures]] = {"ours": [], "peer": []}

    def tell(name: str, figures: Figures) -> None:
        told[name].append(figures)
        print(name, json.dumps(figures), file=sys.stderr, flush=True)

    workload = prepared.workload()
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": str(workload.threads)}
    settings["DS_ACCELERATOR"] = workload.device
    target = str(prepared.folder)
    here = [sys.executable, "-m", "tests.benchmarks.peers.ours", target]
    with (
        side("ours", here, prepared.folder / "ours.log", settings) as ours,
        side("peer", [*peer, target], prepared.folder / "peer.log", settings) as other,
    ):
        every(steps + 1, [ours, other], tell)
        parameters = int(ours.ready["parameters"])
    return {name: figures[1:] for name, figures in told.items()}, parameters


def compared(prepared: Prepared, peer: Sequence[str], steps: int, networks: int) -> dict[str, Any]:
    """The table's row. `networks` is how many of the policy's size learn in an update."""
    workload = prepared.workload()
    device, dtype = torch.device(workload.device), dtype_of(workload.precision)  # type: ignore[arg-type]
    if workload.device == "cpu":
        peak, machine = matmul_flops(workload.threads, dtype), f"{workload.threads} thread(s)"
    else:
        peak, machine = matmul_peak(device, dtype), torch.cuda.get_device_name()
        torch.cuda.empty_cache()
    told, parameters = told_by_turns(prepared, peer, steps)
    mine, theirs = told["ours"], told["peer"]
    share = update_flops(workload, parameters, mine, networks) / peak
    return {
        "workload": workload.name,
        "machine": f"{platform.machine()}, {machine}",
        "precision": workload.precision,
        "peer_precision": workload.peer_precision,
        "parameters": parameters,
        "steps": steps,
        "ratio": ratio(mine, theirs, "seconds"),
        "cpu_ratio": ratio(mine, theirs, "cpu_seconds"),
        "ours": medians(mine),
        "peer": medians(theirs),
        "peak_gflops": round(peak / 1e9, 1),
        "update_share_of_peak": round(share, 3),
    }


def ratio(mine: Sequence[Figures], theirs: Sequence[Figures], clock: str) -> float:
    """Median over the steps of peer ÷ ours."""
    pairs = zip(mine, theirs, strict=True)
    return round(statistics.median(their[clock] / my[clock] for my, their in pairs), 2)


def medians(steps: Sequence[Figures]) -> dict[str, Any]:
    """Of seconds and sizes; the most of memory; reward and KL of every step."""

    def median(values: Iterable[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "seconds": median(f["seconds"] for f in steps),
        "cpu_seconds": median(f["cpu_seconds"] for f in steps),
        "phases": {name: median(f["phases"][name] for f in steps) for name in steps[0]["phases"]},
        "response_tokens": median(f["response_tokens"] for f in steps),
        "peak_mib": round(max(f["peak_bytes"] for f in steps) / 2**20),
        "reward": [round(f["reward"], 3) for f in steps],
        "kl": [None if f["kl"] is None else round(f["kl"], 3) for f in steps],
    }


def update_flops(
    workload: Workload, parameters: int, steps: Sequence[Figures], networks: int
) -> float:
    """Useful operations a second of the update: 6 for each weight and token."""
    flops = [6 * parameters * networks * workload.epochs * f["sequence_tokens"] for f in steps]
    return sum(flops) / sum(f["phases"]["update"] for f in steps)


def matmul_flops(threads: int, dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """Operations a second of torch's own matrix product: the best of several."""
    torch.set_num_threads(threads)
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best_of(8, lambda: left @ right)


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest of several runs."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
