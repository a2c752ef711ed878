"""What DeepSpeed adds to a network of plain torch, at each ZeRO stage."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from rlhf_service.learner.base import Engine
from rlhf_service.planning.calibration.clock import fastest, now
from rlhf_service.planning.device import EngineCost
from rlhf_service.spec.learner import LearnerSpec, OptimizerSpec, Precision

MANY, FEW = 48, 8
"""Numbers of matrices in the networks that are compared."""
NARROW = 32
WIDE = {"cpu": 1024, "cuda": 4096}
"""By kind of device: beyond a processor's caches; a GPU's steps must take longer than to launch them."""
ROUNDS = 5


def engine_costs(
    precision: Precision, dtype: torch.dtype, device: torch.device
) -> dict[str, EngineCost]:
    """By ZeRO stage. Needs a process group."""
    return {str(zero): engine_cost(zero, precision, dtype, device, now) for zero in range(4)}


def engine_cost(
    zero: int,
    precision: Precision,
    dtype: torch.dtype,
    device: torch.device,
    clock: Callable[[torch.device], float],
) -> EngineCost:
    """Of one of the ranks there are, from networks of few and of many matrices, narrow and wide. Steps
    are counted for each parameter of the network.
    """
    from rlhf_service.learner.deepspeed import DeepSpeedEngines

    learner = LearnerSpec.model_validate({"zero_stage": zero, "precision": precision})

    def measured(count: int, width: int) -> tuple[float, float]:
        """Seconds of (forward and backward, beyond plain torch; a step)."""
        gc.collect()  # engines hold themselves in circles, and their memory with them
        plain, own = stack(count, width, device).to(dtype), stack(count, width, device)
        inputs = torch.zeros(1, width, dtype=dtype, device=device)
        bare = fastest(lambda: torch.autograd.backward(plain(inputs).float().sum()), device)
        engine: Engine = DeepSpeedEngines(learner, device)(own, OptimizerSpec())
        try:
            passes, steps = [], []
            for _ in range(ROUNDS):
                began = clock(device)
                engine.backward(engine.module(inputs).float().sum())
                passed = clock(device)
                engine.step(1e-6)
                passes.append(passed - began)
                steps.append(clock(device) - passed)
        finally:
            engine.close()
        return max(0.0, min(passes) - bare), min(steps)

    few, many = measured(FEW, NARROW), measured(MANY, NARROW)
    broad = WIDE[device.type]
    wide = measured(FEW, broad)
    tensors = MANY - FEW
    parameters = FEW * (broad**2 - NARROW**2)
    return EngineCost(
        per_tensor=max(0.0, many[0] - few[0]) / tensors,
        per_parameter=max(0.0, wide[0] - few[0]) / parameters,
        step_per_tensor=max(0.0, many[1] - few[1]) / tensors,
        step_per_parameter=max(0.0, wide[1] - few[1]) / parameters,
    )


def stack(count: int, width: int, device: torch.device) -> torch.nn.Module:
    """`count` square matrices in a row."""
    return torch.nn.Sequential(
        *(torch.nn.Linear(width, width, bias=False, device=device) for _ in range(count))
    )
