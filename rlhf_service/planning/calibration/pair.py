"""What two ranks of one machine take beyond one: gradients and weights exchanged, and waiting."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from rlhf_service.learner.backend import BACKENDS
from rlhf_service.models.precision import dtype_of
from rlhf_service.planning.calibration.clock import settled
from rlhf_service.planning.calibration.engines import engine_cost
from rlhf_service.planning.device import EngineCost
from rlhf_service.spec.learner import Precision

RANKS = 2


def exchange_costs(
    kind: str, threads: int, alone: Mapping[Precision, Mapping[str, EngineCost]]
) -> dict[Precision, dict[str, EngineCost]]:
    """By precision and ZeRO stage, beyond what a rank takes `alone`; by two processes of `threads`."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_rank, args=(folder, kind, threads, tuple(alone)), nprocs=RANKS)
        both = json.loads((Path(folder) / "costs").read_text())
    return {
        precision: {
            zero: beyond(EngineCost.model_validate(both[precision][zero]), cost, int(zero))
            for zero, cost in costs.items()
        }
        for precision, costs in alone.items()
    }


def beyond(two: EngineCost, one: EngineCost, zero: int) -> EngineCost:
    """What each of two ranks takes that one alone does not."""
    # From ZeRO 1 each steps half the parameters.
    stepped = one.step_per_parameter / (RANKS if zero else 1)
    return EngineCost(
        per_tensor=max(0.0, two.per_tensor - one.per_tensor),
        per_parameter=max(0.0, two.per_parameter - one.per_parameter),
        step_per_tensor=max(0.0, two.step_per_tensor - one.step_per_tensor),
        step_per_parameter=max(0.0, two.step_per_parameter - stepped),
    )


def _rank(
    rank: int, folder: str, kind: str, threads: int, precisions: tuple[Precision, ...]
) -> None:
    torch.set_num_threads(threads)
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)

    def clock() -> float:
        settled(device)
        return time.perf_counter()

    meeting = f"file://{Path(folder) / 'meeting'}"
    dist.init_process_group(BACKENDS[kind], init_method=meeting, rank=rank, world_size=RANKS)
    found = {
        precision: {
            str(zero): engine_cost(zero, precision, dtype_of(precision), device, clock).model_dump()
            for zero in range(4)
        }
        for precision in precisions
    }
    if rank == 0:
        (Path(folder) / "costs").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
