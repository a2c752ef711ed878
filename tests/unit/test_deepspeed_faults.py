"""What DeepSpeed's checkpoints raise: a full disk is storage, a lost rank is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_service.errors import StorageError
from rlhf_service.learner.deepspeed import DeepSpeedEngine


class Saving:
    """The part of DeepSpeed's engine that saves."""

    def __init__(self, save) -> None:
        self._save = save

    def save_checkpoint(self, folder: str, **_: object) -> None:
        self._save(folder)


def engine(save) -> DeepSpeedEngine:
    made = DeepSpeedEngine.__new__(DeepSpeedEngine)
    made._engine, made._learnt = Saving(save), None
    return made


def exchange(_: str) -> None:
    raise RuntimeError(
        "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:56454"
    )


def test_a_disk_that_takes_no_more_is_said(tmp_path):
    full = engine(lambda _: torch.save({"w": torch.zeros(2**20)}, "/dev/full"))
    with pytest.raises(
        StorageError, match=f"checkpoint {tmp_path} could not be written: .*free some"
    ):
        full.save(tmp_path)


def test_a_folder_that_is_gone_is_said(tmp_path):
    gone = tmp_path / "gone"
    with pytest.raises(StorageError, match="does not exist"):
        engine(lambda folder: torch.save({}, Path(folder) / "state.pt")).save(gone)


def test_a_rank_that_is_lost_while_the_others_save_is_no_fault_of_the_storage(tmp_path):
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        engine(exchange).save(tmp_path)
