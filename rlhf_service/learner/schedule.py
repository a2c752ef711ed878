"""Learning rate as a pure function of the step, so that a checkpoint needs no scheduler state."""

from __future__ import annotations

import math

from rlhf_service.spec.learner import OptimizerSpec


def learning_rate(spec: OptimizerSpec, step: int, total_steps: int) -> float:
    """Rate of optimiser step `step` (0 is the first) of `total_steps`.

    Linear warm-up reaches the peak on step `warmup_steps`; linear and cosine fall to 0 at
    `total_steps`.
    """
    if step < spec.warmup_steps:
        return spec.learning_rate * (step + 1) / (spec.warmup_steps + 1)
    if spec.schedule == "constant":
        return spec.learning_rate
    span = max(1, total_steps - spec.warmup_steps)
    done = min(1.0, (step - spec.warmup_steps) / span)
    if spec.schedule == "linear":
        return spec.learning_rate * (1 - done)
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
