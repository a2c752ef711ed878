"""What every stage is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from rlhf_service.events import Event
from rlhf_service.learner.base import EngineFactory
from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.ports import EventSink, Group, RewardFunction, RolloutEngine, WeightChannel
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.model import ModelSpec
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.storage import JobFolder
from rlhf_service.vitals import Entered, ignore


class StopRequested(Exception):
    """The job was asked to stop; its checkpoint is written."""


class Pools(Protocol):
    """Where a PPO stage gets its rollouts and scores from."""

    def rollouts(self, model: Path, weights: WeightChannel) -> RolloutEngine:
        """An engine for the network described by folder `model` (config and tokenizer).

        It serves the versions published on `weights`, which this rank got from `weights()`.
        """
        ...

    def rewards(self, reward: RewardSpec, folders: Mapping[str, Path]) -> RewardFunction:
        """A reward; `folders` maps the stages it refers to, to their model folders."""
        ...

    def weights(self, max_staleness: int) -> WeightChannel:
        """The channel its rollout engines fetch from, versions as old as that included."""
        ...


@dataclass(frozen=True, slots=True)
class StageContext:
    """The surroundings of a stage on one rank."""

    spec: JobSpec
    folder: JobFolder
    group: Group
    device: torch.device
    engines: EngineFactory
    pools: Pools
    checkpoints: CheckpointFolder
    sink: EventSink
    """This rank's own."""
    reported: Mapping[str, int]
    """Stage → highest step already reported by an earlier life of this job."""
    progress: Callable[[str, int], None]
    """Told (stage, step) after each step."""
    entered: Entered = ignore
    """Told each phase of a step when it begins."""

    def emit(self, event: Event) -> None:
        """Say it once for all ranks."""
        if self.group.rank == 0:
            self.sink.emit(event)

    def stop_requested(self) -> bool:
        """Whether any rank sees the stop flag. Collective, so all ranks stop at the same step."""
        flag = torch.tensor(float(self.folder.stop_flag.exists()))
        return bool(self.group.max(flag) > 0)

    def model_folder(self, model: ModelSpec) -> Path:
        """Folder of a model that exists already."""
        if model.type == "stage":
            return self.folder.stage_model(model.stage)
        if model.type == "folder":
            return Path(model.path)
        raise ValueError("a scratch model has no folder")
