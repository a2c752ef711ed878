"""Shipped fakes: one for each port, so that whatever uses a port can be tested without the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rlhf_service.errors import WeightsUnavailable
from rlhf_service.events import Event
from rlhf_service.models.adapter import learnt_names
from rlhf_service.newest import Newest
from rlhf_service.ports import (
    KEPT_VERSIONS,
    RewardFunction,
    RolloutEngine,
    WeightChannel,
    WeightSnapshot,
)
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.spec.learner import OptimizerSpec, Precision
from rlhf_service.spec.reward import RewardSpec


class ListSink:
    """EventSink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class InProcessChannel:
    """WeightChannel within one process. Keeps the `kept` versions published last."""

    def __init__(self, kept: int = KEPT_VERSIONS) -> None:
        self._kept = kept
        self._versions: Newest[WeightSnapshot] = Newest()

    def publish(self, snapshot: WeightSnapshot) -> None:
        copies = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}
        kept = WeightSnapshot(snapshot.version, dict(snapshot.digests), copies)
        self._versions.put(snapshot.version, kept, self._kept)

    def fetch(self, version: int) -> WeightSnapshot:
        if (found := self._versions.find(version)) is None:
            raise WeightsUnavailable(f"version {version} is not published")
        return found


class FunctionReward:
    """RewardFunction from a function of the rollout."""

    def __init__(self, value: Callable[[Rollout], float]) -> None:
        self._value = value

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        values = [self._value(rollout) for rollout in rollouts]
        return [Score(value=value, components={"function": value}) for value in values]


class PullingEngine:
    """RolloutEngine that fetches the version it is asked for, as a rollout actor does."""

    def __init__(self, engine: RolloutEngine, channel: WeightChannel) -> None:
        self._engine, self._channel = engine, channel

    def generate(self, prompts, sampling, *, version, seed):  # type: ignore[no-untyped-def]
        if self._engine.version != version:  # type: ignore[attr-defined]
            self._engine.load_weights(self._channel.fetch(version))  # type: ignore[attr-defined]
        return self._engine.generate(prompts, sampling, version=version, seed=seed)


class LocalPools:
    """Pools in this process: no Ray, the same code paths."""

    def __init__(
        self,
        reward: RewardFunction | None = None,
        *,
        precision: Precision = "fp32",
        device: str = "cpu",
        max_sequences: int = 64,
    ) -> None:
        self._reward, self._device = reward, device
        self._engine = (precision, device, max_sequences)

    def weights(self, max_staleness: int) -> InProcessChannel:
        return InProcessChannel(KEPT_VERSIONS + max_staleness)

    def rollouts(self, model: Path, weights: WeightChannel) -> RolloutEngine:
        from rlhf_service.rollout.build import build_engine

        return PullingEngine(build_engine(model, *self._engine), weights)

    def rewards(self, reward: RewardSpec, folders: Mapping[str, Path]) -> RewardFunction:
        from rlhf_service.reward.build import build_reward

        return self._reward or build_reward(reward, folders, self._device)


@dataclass(frozen=True, slots=True)
class PlainEngines:
    """EngineFactory of one rank in plain torch, on a device."""

    device: torch.device

    def __call__(self, module: torch.nn.Module, optimizer: OptimizerSpec) -> PlainEngine:
        return PlainEngine(module.to(self.device), optimizer)

    def frozen(self, module: torch.nn.Module) -> torch.nn.Module:
        """Whole: nothing is cut up here."""
        return module.to(self.device).eval().requires_grad_(False)

    def close(self) -> None:
        return None


class PlainEngine:
    """Engine port in plain torch: one rank, no sharding. The yardstick for DeepSpeed."""

    def __init__(self, module: torch.nn.Module, optimizer: OptimizerSpec) -> None:
        self.module = module
        self._learnt = learnt_names(module)
        self._max_norm = optimizer.max_grad_norm
        self._adam = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )

    def backward(self, loss: torch.Tensor) -> None:
        torch.autograd.backward(loss)

    def step(self, learning_rate: float) -> float:
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._max_norm)
        self._adam.step()
        self._adam.zero_grad()
        return float(norm)

    def full_state(self) -> dict[str, torch.Tensor]:
        state = self.module.state_dict().items()
        return {k: v.detach() for k, v in state if self._learnt is None or k in self._learnt}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save([self.module.state_dict(), self._adam.state_dict()], folder / "state.pt")

    def load(self, folder: Path) -> None:
        module, adam = torch.load(folder / "state.pt", weights_only=True)
        self.module.load_state_dict(module)
        self._adam.load_state_dict(adam)

    def close(self) -> None:
        return None
