"""Older weights in a checkpoint: those that what is on its way was asked from.

With them a stage that samples ahead goes on with the same batches, drawn again by the same weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

from rlhf_service.ahead import sampled_by
from rlhf_service.ports import WeightSnapshot
from rlhf_service.step import PpoRun, PpoState


def save_lagging(run: PpoRun, state: PpoState, folder: Path) -> None:
    """Write the versions that the next steps' batches are drawn by, without the newest."""
    if run.group.rank == 0:
        for version in lagging(run, state):
            found = run.weights.fetch(version)
            kept = {"digests": dict(found.digests), "tensors": dict(found.tensors)}
            torch.save(kept, weights_file(folder, version))


def publish_lagging(run: PpoRun, state: PpoState, folder: Path) -> None:
    """Make them fetchable again, oldest first."""
    if run.group.rank == 0:
        for version in lagging(run, state):
            kept = torch.load(weights_file(folder, version), map_location="cpu", weights_only=True)
            run.weights.publish(WeightSnapshot(version, kept["digests"], kept["tensors"]))


def lagging(run: PpoRun, state: PpoState) -> range:
    newest = state.policy_version
    return range(sampled_by(newest, run.stage.max_staleness), newest)


def weights_file(folder: Path, version: int) -> Path:
    return folder / f"weights-{version}.pt"
