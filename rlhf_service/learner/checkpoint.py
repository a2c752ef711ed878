"""Checkpoints: everything that decides the next step, valid only once its MANIFEST stands."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf_service.errors import StorageError
from rlhf_service.manifest import (
    MANIFEST,
    STATE,
    Checkpoint,
    NotValid,
    checkpoint_name,
    read_checkpoint,
)
from rlhf_service.ports import Group
from rlhf_service.storage import write_atomically


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """All checkpoints of a job. `save` is collective; ranks share the folder."""

    root: Path
    keep: int
    group: Group

    def save(
        self, stage: str, step: int, write: Callable[[Path], dict[str, Any]]
    ) -> tuple[Path, float]:
        """Save and prune. Returns the folder and the seconds it took. Raises StorageError.

        `write` is called on every rank with the folder to fill, and returns the trainer's JSON state.
        """
        started = time.perf_counter()
        path = self.root / checkpoint_name(stage, step)
        try:
            if self.group.rank == 0:
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir(parents=True)
            self.group.barrier()
            state = write(path)
            torch.save(torch.get_rng_state(), path / f"rng-{self.group.rank}.pt")
            self.group.barrier()
            if self.group.rank == 0:
                write_atomically(path / STATE, json.dumps(state))
                write_atomically(path / MANIFEST, self._manifest(path, stage, step))
                self._prune(keep=path)
        except OSError as fault:
            raise StorageError(
                f"checkpoint {path} could not be written: {fault}; free some space and resume"
            ) from fault
        self.group.barrier()
        return path, time.perf_counter() - started

    def latest(self, stage: str) -> Checkpoint | None:
        """The newest valid checkpoint of a stage."""
        valid = [c for c in self._valid() if c.stage == stage]
        return max(valid, key=lambda c: c.step, default=None)

    def restore_rng(self, checkpoint: Checkpoint) -> None:
        """Put this rank's random state back; a rank that was not there takes the first one's."""
        own, first = (checkpoint.path / f"rng-{rank}.pt" for rank in (self.group.rank, 0))
        path = own if own.exists() else first
        if path.exists():
            torch.set_rng_state(torch.load(path, weights_only=True))

    def _valid(self) -> list[Checkpoint]:
        return [found for path in sorted(self.root.glob("*-step-*")) if (found := _read(path))]

    def _manifest(self, path: Path, stage: str, step: int) -> str:
        files = {
            str(f.relative_to(path)): f.stat().st_size
            for f in sorted(path.rglob("*"))
            if f.is_file()
        }
        return json.dumps({"stage": stage, "step": step, "ranks": self.group.size, "files": files})

    def _prune(self, keep: Path) -> None:
        valid = sorted(self._valid(), key=lambda c: (c.path / MANIFEST).stat().st_mtime_ns)
        kept = {c.path for c in valid[-self.keep :]} | {keep}
        for path in self.root.glob("*-step-*"):
            if path not in kept:
                # The manifest goes first: a half-deleted checkpoint must not look valid.
                (path / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> Checkpoint | None:
    try:
        return read_checkpoint(path)
    except NotValid:
        return None
