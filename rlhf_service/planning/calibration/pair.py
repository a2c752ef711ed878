"""What two ranks of one machine take beyond one: gradients and weights exchanged, and waiting."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from rlhf_service.errors import RlhfError
from rlhf_service.models.precision import dtype_of
from rlhf_service.planning.calibration.clock import wall
from rlhf_service.planning.calibration.engines import engine_cost
from rlhf_service.planning.calibration.ranks import device_of, joined
from rlhf_service.planning.device import EngineCost
from rlhf_service.spec.learner import Precision

RANKS = 2


class PairFailed(RlhfError):
    """Two processes could not train together."""


def exchange_costs(
    kind: str, threads: int, alone: Mapping[Precision, Mapping[str, EngineCost]]
) -> dict[Precision, dict[str, EngineCost]]:
    """By precision and ZeRO stage, beyond what a rank takes `alone`; by two processes of `threads`.

    Raises PairFailed.
    """
    if kind == "cuda":
        torch.cuda.empty_cache()  # one of the two computes on this process's GPU
    with tempfile.TemporaryDirectory() as folder:
        try:
            wanted = {precision: tuple(costs) for precision, costs in alone.items()}
            multiprocessing.spawn(_rank, args=(folder, kind, threads, wanted), nprocs=RANKS)
        except (
            multiprocessing.ProcessRaisedException,
            multiprocessing.ProcessExitedException,
        ) as fault:
            raise PairFailed(str(fault).strip().splitlines()[-1]) from fault
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
    rank: int, folder: str, kind: str, threads: int, wanted: Mapping[Precision, tuple[str, ...]]
) -> None:
    torch.set_num_threads(threads)
    device = device_of(kind, rank)

    def costs(precision: Precision, zero: str) -> dict[str, float]:
        cost = engine_cost(int(zero), precision, dtype_of(precision), device, wall)
        return cost.model_dump()

    with joined(device, Path(folder), rank, RANKS):
        found = {
            precision: {zero: costs(precision, zero) for zero in stages}
            for precision, stages in wanted.items()
        }
        if rank == 0:
            (Path(folder) / "costs").write_text(json.dumps(found))
        dist.barrier()
