"""How the learner group computes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section

Precision = Literal["fp32", "bf16"]


class OptimizerSpec(Section):
    """Adam with decoupled weight decay, and its learning-rate schedule."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""

    eps: float = Field(default=1e-5, gt=0)
    """Adam's epsilon; 1e-5 is the published PPO recipe (arXiv 2403.17031)."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Shape after warm-up; linear and cosine end at 0 on the stage's last step."""

    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear rise from 0."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""


class LearnerSpec(Section):
    """DeepSpeed settings shared by every engine of the job."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO partitioning: 0 nothing, 1 optimiser states, 2 also gradients, 3 also parameters."""

    precision: Precision = "fp32"
    """Arithmetic of forward and backward; master weights and Adam stay fp32."""

    offload_optimizer: bool = False
    """Keep optimiser states in CPU memory (ZeRO 1 to 3)."""

    micro_batch_size: int = Field(default=8, ge=1)
    """Most sequences in one forward pass of one rank; smaller needs less memory, same gradient."""

    micro_batch_tokens: int | None = Field(default=None, ge=1)
    """Most tokens, prompts and padding included, in one forward pass of one rank, in place of
    micro_batch_size; a longer row goes alone. Evens out passes of unlike rows. PPO and its kin."""

    layout: Literal["auto", "padded", "packed"] = "auto"
    """padded: rows with padding · packed: rows laid end to end without padding · auto: packed where
    the architecture lets attention keep rows apart without a mask. Same gradient. PPO and its kin."""
