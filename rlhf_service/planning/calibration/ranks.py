"""Process groups of this machine's own processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from rlhf_service.learner.backend import BACKENDS
from rlhf_service.variables import variables

LOCAL_RANK = "LOCAL_RANK"
"""Variable by which DeepSpeed chooses a process's GPU."""


def device_of(kind: str, rank: int) -> torch.device:
    """Where a rank computes."""
    return torch.device(kind, rank) if kind == "cuda" else torch.device(kind)


@contextmanager
def joined(device: torch.device, folder: Path, rank: int, ranks: int) -> Iterator[None]:
    """This process as one of `ranks`, which meet in `folder`."""
    backend, meeting = BACKENDS[device.type], f"file://{folder / 'meeting'}"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with variables(**{LOCAL_RANK: str(device.index or 0)}):
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=ranks)
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def one_rank(device: torch.device) -> Iterator[None]:
    """A process group of this process alone."""
    with tempfile.TemporaryDirectory() as folder, joined(device, Path(folder), 0, 1):
        yield
