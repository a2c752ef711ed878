"""What the spec calls a precision, in torch's words."""

from __future__ import annotations

import torch

from rlhf_service.spec.learner import Precision


def dtype_of(precision: Precision) -> torch.dtype:
    """Of weights and arithmetic; master weights are fp32 in any case."""
    return torch.bfloat16 if precision == "bf16" else torch.float32
