"""A trainable module on one rank: what the stages need of an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from rlhf_service.spec.learner import OptimizerSpec

Network = Callable[..., Any]
"""A causal LM's forward pass."""


class Engine(Protocol):
    """One network, its master weights and its Adam, possibly sharded over the ranks."""

    @property
    def module(self) -> torch.nn.Module:
        """The network; calling it is a forward pass. Collective under ZeRO-3."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradient of `loss`: this rank's additive part of the whole loss.

        The accumulated gradient is the sum over ranks and calls, so a loss that was divided by a
        global count gives the same step whatever the number of ranks and microbatches.
        """
        ...

    def step(self, learning_rate: float) -> float:
        """Clip, apply Adam, clear the gradient. Returns the norm before clipping. Collective."""
        ...

    def full_state(self) -> dict[str, torch.Tensor] | None:
        """The whole state dict on rank 0, None elsewhere. Collective. Valid until the next step.

        Of a network that is partly frozen, only what learns.
        """
        ...

    def save(self, folder: Path) -> None:
        """Everything that decides the next step. Collective."""
        ...

    def load(self, folder: Path) -> None:
        """The reverse of save. Collective."""
        ...

    def close(self) -> None:
        """Let go of the memory."""
        ...


class EngineFactory(Protocol):
    """Makes engines that share the rank's device and ZeRO settings."""

    def __call__(self, module: torch.nn.Module, optimizer: OptimizerSpec) -> Engine: ...

    def frozen(self, module: torch.nn.Module) -> torch.nn.Module:
        """`module`, taken over, for answers alone; cut up over the ranks where networks that learn are.
        Calling it is collective under ZeRO-3."""
        ...

    def close(self) -> None:
        """Let go of all that was made."""
        ...
