"""This machine's arithmetic as a device profile's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch

from rlhf_service.models.precision import dtype_of
from rlhf_service.planning.calibration.engines import engine_costs
from rlhf_service.planning.calibration.kernels import (
    draw_cost,
    loss_costs,
    matmul_curve,
    matmul_rows,
)
from rlhf_service.planning.calibration.networks import network_costs
from rlhf_service.planning.calibration.pair import RANKS, PairFailed, exchange_costs
from rlhf_service.planning.calibration.ranks import one_rank
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
                say(f"arithmetic in {precision} with {threads_of(count)}")
                found[count][precision] = _one(precision, device)
    for count, arithmetic in found.items():
        if has_room_for_two(device, count):
            say(f"two ranks of {threads_of(count)}")
            alone = {precision: one.engines for precision, one in arithmetic.items()}
            try:
                measured = exchange_costs(device.type, count, alone)
            except PairFailed as fault:
                say(f"not measured, so planned by the link: {fault}")
                continue
            for precision, costs in measured.items():
                changed = arithmetic[precision].model_copy(update={"exchanges": costs})
                arithmetic[precision] = changed
    return found


def threads_of(count: int) -> str:
    """In words."""
    return f"{count} thread{'s' if count > 1 else ''}"


def has_room_for_two(device: torch.device, threads: int) -> bool:
    """Whether two processes compute without waiting for each other."""
    if device.type == "cuda":
        return torch.cuda.device_count() >= RANKS
    return RANKS * threads <= (os.cpu_count() or 1)


def _one(precision: Precision, device: torch.device) -> Arithmetic:
    dtype = dtype_of(precision)
    bare = Arithmetic(
        matmul=matmul_curve(dtype, device),
        matmul_backward=matmul_curve(dtype, device, backward=True),
        matmul_rows=matmul_rows(dtype, device),
        networks={},
        losses={},
        engines={},
        decode_call=0,
        draw=0,
    )
    networks, decode_call = network_costs(dtype, device, bare)
    return bare.model_copy(
        update={
            "networks": networks,
            "decode_call": decode_call,
            "losses": loss_costs(dtype, device),
            "engines": engine_costs(precision, dtype, device),
            "draw": draw_cost(device),
        }
    )
