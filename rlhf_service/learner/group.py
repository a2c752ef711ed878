"""The Group port: torch.distributed, and one rank alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TorchGroup:
    """The ranks of the default process group. `device` must suit the backend (cuda for NCCL)."""

    device: torch.device

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def size(self) -> int:
        return dist.get_world_size()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, values: torch.Tensor) -> torch.Tensor:
        return self._reduce(values, dist.ReduceOp.MAX)

    def gather(self, item: Item) -> list[Item]:
        items: list[Item | None] = [None] * self.size
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def broadcast(self, item: Item) -> Item:
        box = [item]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def barrier(self) -> None:
        dist.barrier()

    def _reduce(self, values: torch.Tensor, op: dist.ReduceOp.RedOpType) -> torch.Tensor:
        moved = values.detach().to(self.device, copy=True)
        dist.all_reduce(moved, op)
        return moved.to(values.device)


@dataclass(frozen=True, slots=True)
class SoloGroup:
    """One rank, no communication."""

    rank: int = 0
    size: int = 1

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.detach().clone()

    def max(self, values: torch.Tensor) -> torch.Tensor:
        return values.detach().clone()

    def gather(self, item: Item) -> list[Item]:
        return [item]

    def broadcast(self, item: Item) -> Item:
        return item

    def barrier(self) -> None:
        return None
