"""What DeepSpeed adds to a network of plain torch, at each ZeRO stage."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from rlhf_service.learner.backend import BACKENDS
from rlhf_service.learner.base import Engine
from rlhf_service.planning.calibration.clock import fastest, now
from rlhf_service.planning.device import EngineCost
from rlhf_service.spec.learner import LearnerSpec, OptimizerSpec, Precision

MANY, FEW = 48, 8
"""Numbers of matrices in the networks that are compared."""
NARROW = 32
WIDE = {"cpu": 512, "cuda": 4096}
"""By kind of device: a GPU's steps must take longer than to launch them."""


@contextmanager
def one_rank(device: torch.device) -> Iterator[None]:
    """A process group of this process alone."""
    os.environ.setdefault("LOCAL_RANK", "0")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        dist.init_process_group(BACKENDS[device.type], init_method=meeting, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


def engine_costs(
    precision: Precision, dtype: torch.dtype, device: torch.device
) -> dict[str, EngineCost]:
    """By ZeRO stage. Needs a process group."""
    return {str(zero): engine_cost(zero, precision, dtype, device) for zero in range(4)}


def engine_cost(
    zero: int, precision: Precision, dtype: torch.dtype, device: torch.device
) -> EngineCost:
    """From networks of few and of many matrices, narrow and wide."""
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
            for _ in range(5):
                clock = Stopwatch(device)
                engine.backward(engine.module(inputs).float().sum())
                passes.append(clock.lap())
                engine.step(1e-6)
                steps.append(clock.lap())
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
        step_per_tensor=max(0.0, many[1] - few[1]) / tensors,
        # Wide gradients are copied, too.
        step_per_parameter=max(0.0, wide[1] - few[1] + wide[0] - few[0]) / parameters,
    )


class Stopwatch:
    """Seconds since it was last asked."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = now(device)

    def lap(self) -> float:
        last, self._last = self._last, now(self._device)
        return self._last - last


def stack(count: int, width: int, device: torch.device) -> torch.nn.Module:
    """`count` square matrices in a row."""
    return torch.nn.Sequential(
        *(torch.nn.Linear(width, width, bias=False, device=device) for _ in range(count))
    )
