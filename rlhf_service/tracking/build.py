"""Tracker kinds → trackers, each loaded only when a job feeds it."""

from __future__ import annotations

from pathlib import Path

from rlhf_service.errors import SpecError
from rlhf_service.spec.tracking import TrackerKind
from rlhf_service.tracking.base import Tracker

PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}


def build_tracker(kind: TrackerKind, folder: Path, job: str, name: str) -> Tracker:
    """A tracker that writes below `folder`. Raises SpecError when its package is missing."""
    try:
        match kind:
            case "tensorboard":
                from rlhf_service.tracking.tensorboard import TensorBoard

                return TensorBoard(folder / kind)
            case "mlflow":
                from rlhf_service.tracking.mlflow import MlflowRun

                return MlflowRun(folder / kind, job, name)
            case "wandb":
                from rlhf_service.tracking.wandb import WandbRun

                return WandbRun(folder / kind, job, name)
    except ImportError:
        raise SpecError(
            f"tracker {kind} is not installed where jobs run; have {PACKAGES.get(kind, kind)} "
            "installed there, or leave it out",
            "trackers",
        ) from None
