"""How fast a stage's ranks can multiply, and how fast they do."""

from __future__ import annotations

import torch

from rlhf_service.models.precision import dtype_of
from rlhf_service.models.work import matmul_peak
from rlhf_service.stages.context import StageContext


def peak_of(context: StageContext) -> float:
    """Operations a second of all ranks' matrix products in the job's precision. Collective."""
    mine = matmul_peak(context.device, dtype_of(context.spec.learner.precision))
    return float(context.group.sum(torch.tensor(mine, dtype=torch.float64)))


def achieved(context: StageContext, operations: float, seconds: float) -> float:
    """Useful operations a second of all ranks, of which this one did `operations`. Collective."""
    whole = context.group.sum(torch.tensor(operations, dtype=torch.float64))
    return float(whole) / max(seconds, 1e-9)
