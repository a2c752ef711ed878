"""Tensors laid end to end in a few large buffers, so that a network can be sent in as many pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch

BUCKET_BYTES = 2**28
"""Few enough that each is sent at the link's pace, small enough that one is on its way while the next
is filled."""
ALIGNED = 16
"""Bytes: every dtype's elements, and a digest's words, start at a multiple."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor lies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bucket: int
    offset: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every tensor lies; sender and receivers must hold the same."""

    places: tuple[Place, ...]
    sizes: tuple[int, ...]
    """Bytes of each bucket."""


def laid_out(tensors: Mapping[str, torch.Tensor], most: int = BUCKET_BYTES) -> Layout:
    """Buckets of at most `most` bytes, in the tensors' order; a larger tensor has one of its own."""
    places: list[Place] = []
    sizes: list[int] = []
    for name, tensor in tensors.items():
        taken = -(-tensor.numel() * tensor.element_size() // ALIGNED) * ALIGNED
        if not sizes or sizes[-1] + taken > most:
            sizes.append(0)
        dtype = str(tensor.dtype).removeprefix("torch.")
        places.append(Place(name, dtype, tuple(tensor.shape), len(sizes) - 1, sizes[-1]))
        sizes[-1] += taken
    return Layout(tuple(places), tuple(sizes))


def empty_buckets(layout: Layout, device: torch.device) -> list[torch.Tensor]:
    """uint8, [bytes] each."""
    return [torch.empty(size, dtype=torch.uint8, device=device) for size in layout.sizes]


def tensors_in(layout: Layout, buckets: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, as views of the buckets."""
    return {place.name: _view(place, buckets[place.bucket]) for place in layout.places}


def fill(
    layout: Layout, buckets: Sequence[torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Copy the tensors into the buckets."""
    for name, view in tensors_in(layout, buckets).items():
        view.copy_(tensors[name].detach())


def _view(place: Place, bucket: torch.Tensor) -> torch.Tensor:
    dtype: torch.dtype = getattr(torch, place.dtype)
    size = prod(place.shape) * dtype.itemsize
    return bucket[place.offset : place.offset + size].view(dtype).view(place.shape)
