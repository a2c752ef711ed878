"""This machine's arithmetic as a device profile's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rlhf_service.models.precision import dtype_of
from rlhf_service.planning.calibration.engines import engine_costs, one_rank
from rlhf_service.planning.calibration.kernels import draw_cost, loss_costs, matmul_curve
from rlhf_service.planning.calibration.networks import network_costs
from rlhf_service.planning.device import Arithmetic
from rlhf_service.spec.learner import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def measure_arithmetic(
    threads: Sequence[int], device: torch.device, say: Callable[[str], None] = lambda _: None
) -> dict[int, dict[Precision, Arithmetic]]:
    """With each number of threads, in each precision."""
    found: dict[int, dict[Precision, Arithmetic]] = {}
    with one_rank(device):
        for count in threads:
            torch.set_num_threads(count)
            found[count] = {}
            for precision in PRECISIONS:
                say(f"arithmetic in {precision} with {count} thread{'s' if count > 1 else ''}")
                found[count][precision] = _one(precision, device)
    return found


def _one(precision: Precision, device: torch.device) -> Arithmetic:
    dtype = dtype_of(precision)
    curve = matmul_curve(dtype, device)
    bare = Arithmetic(matmul=curve, networks={}, losses={}, engines={}, decode_call=0, draw=0)
    networks, decode_call = network_costs(dtype, device, bare.product)
    return bare.model_copy(
        update={
            "networks": networks,
            "decode_call": decode_call,
            "losses": loss_costs(dtype, device),
            "engines": engine_costs(precision, dtype, device),
            "draw": draw_cost(device),
        }
    )
