"""Joins the learner's ranks to one torch process group, for Ray Train.

As `ray.train.torch.TorchConfig` does, but torch is imported by the ranks alone. The driver and Ray
Train's controller compute nothing and start one after the other, before any rank; torch would be half
of what they import.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import ray
import ray.train
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.util import TrainingFramework

log = logging.getLogger(__name__)

LEAVE_SECONDS = 30
"""For the ranks to let go of their group; one that died keeps nobody longer."""


@dataclass(frozen=True)
class RanksConfig(BackendConfig):
    """What Ray Train is told of the group."""

    backend: str
    """Of torch.distributed: gloo or nccl."""
    timeout_s: int
    """Seconds after which a collective gives up."""

    @property
    def backend_cls(self) -> type[Backend]:
        return Ranks

    @property
    def train_func_context(self) -> type[AbstractContextManager[None]]:
        return OnItsDevice

    @property
    def framework(self) -> TrainingFramework:
        return TrainingFramework.TORCH

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Ranks(Backend):
    """In the controller; what it has the ranks execute is below."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: RanksConfig) -> None:
        address, port = worker_group.execute_single(0, meeting_point)
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, join, backend_config, address, port, rank, size
                )
                for rank in range(size)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: RanksConfig) -> None:
        try:
            ray.get(worker_group.execute_async(leave), timeout=LEAVE_SECONDS)
        except ray.exceptions.GetTimeoutError:
            log.warning("a rank did not leave its group within %d s", LEAVE_SECONDS)


class OnItsDevice(AbstractContextManager[None]):
    """Around the loop of a rank, which computes on the GPU that it was given."""

    def __enter__(self) -> None:
        use_own_device()

    def __exit__(self, *_: object) -> None:
        return None


def use_own_device() -> None:
    """The GPU that this rank was given, if it was given one, is this thread's from now on."""
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)


def meeting_point() -> tuple[str, int]:
    """Where rank 0 can be reached."""
    from ray.train._internal.utils import get_address_and_port

    return get_address_and_port()


def join(config: RanksConfig, address: str, port: int, rank: int, size: int) -> None:
    """Set what torch's `env://` and DeepSpeed read, and meet the other ranks."""
    from datetime import timedelta

    import torch.distributed as dist

    context = ray.train.get_context()
    os.environ |= {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
    }
    # A rank whose collective fails or takes too long ends, so that the group is started again.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    use_own_device()
    dist.init_process_group(
        config.backend,
        init_method="env://",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=config.timeout_s),
    )


def leave() -> None:
    """Let go of the group, and of what the GPU still holds for it. A rank alone may still compute when
    its group is resized."""
    import torch
    import torch.distributed as dist

    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.destroy_process_group()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
