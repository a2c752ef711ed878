"""The critic of a policy-gradient learner, or its absence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from rlhf_service.algorithms import losses
from rlhf_service.learner.base import Engine
from rlhf_service.learner.inputs import NetworkInputs


class Critic(Protocol):
    """Values of response tokens, and how they are learnt."""

    def values(self, inputs: NetworkInputs) -> torch.Tensor:
        """[n] fp32, at each response token of the microbatch."""
        ...

    def learn(
        self,
        inputs: NetworkInputs,
        old_values: torch.Tensor,
        returns: torch.Tensor,
        shares: torch.Tensor,
    ) -> torch.Tensor:
        """Backward through one microbatch. All [n]; returns [2] float64: loss, clipped share."""
        ...

    def step(self, learning_rate: float) -> float:
        """Apply what was learnt; the gradient's norm before clipping. Collective."""
        ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineCritic:
    """A value network with its own optimiser."""

    engine: Engine
    clip: float | None

    def values(self, inputs: NetworkInputs) -> torch.Tensor:
        values = self.engine.module(**inputs.forward())
        return inputs.select_full(values).float()

    def learn(
        self,
        inputs: NetworkInputs,
        old_values: torch.Tensor,
        returns: torch.Tensor,
        shares: torch.Tensor,
    ) -> torch.Tensor:
        terms = losses.value_loss(self.values(inputs), old_values, returns, clip=self.clip)
        loss = (terms.loss * shares).sum()
        self.engine.backward(loss)
        clipped = (terms.clipped * shares).sum()
        return torch.stack([loss.detach(), clipped]).double().cpu()

    def step(self, learning_rate: float) -> float:
        return self.engine.step(learning_rate)

    def save(self, folder: Path) -> None:
        self.engine.save(folder / "critic")

    def load(self, folder: Path) -> None:
        self.engine.load(folder / "critic")


@dataclass(frozen=True, slots=True)
class NoCritic:
    """For methods that compare responses with each other."""

    def values(self, inputs: NetworkInputs) -> torch.Tensor:
        return torch.zeros(len(inputs.tokens), device=inputs.tokens.device)

    def learn(
        self,
        inputs: NetworkInputs,
        old_values: torch.Tensor,
        returns: torch.Tensor,
        shares: torch.Tensor,
    ) -> torch.Tensor:
        return torch.zeros(2, dtype=torch.float64)

    def step(self, learning_rate: float) -> float:
        return 0.0

    def save(self, folder: Path) -> None:
        return None

    def load(self, folder: Path) -> None:
        return None
