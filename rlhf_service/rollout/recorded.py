"""Decoding steps that are recorded once and played from then on, as CUDA graphs.

One step of a small or middling network is hundreds of kernels that take less time than launching them
one by one. A recording is of one size and works on one cache, so sizes are rounded up, and the cache
stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from rlhf_service.rollout.slot_cache import SlotCache

Step = Callable[[SlotCache, torch.Tensor, int], torch.Tensor]
"""(cache, [rows] newest tokens, most tokens that a slot attends to) → [rows, V] logits."""

FEWEST = 8
"""Rows of the smallest recording."""
STRIDE = 64
"""Recordings attend to a multiple of so many tokens."""
WARM = 2
"""Steps before one is recorded: libraries set themselves up in the first."""


class Playable(Protocol):
    """A step of one size."""

    def play(self, tokens: torch.Tensor) -> torch.Tensor: ...


Record = Callable[[SlotCache, Step, int, int], Playable]
"""(cache, step, rows, most) → what plays it."""


class Recorder:
    """The recordings of one network."""

    def __init__(self, device: torch.device, record: Record) -> None:
        self._device, self._record = device, record
        self._cache: SlotCache | None = None
        self._found: dict[tuple[int, int], Playable] = {}

    def room(self, slots: int, width: int) -> SlotCache:
        """The cache, empty. A larger one than before makes what was recorded void."""
        held = self._cache
        if held is None or held.slots < slots or held.width < width:
            self._found.clear()
            self._cache = held = None  # makes room first
            self._cache = held = SlotCache.empty(slots, rounded(width, STRIDE), self._device)
        held.clear()
        return held

    def step(self, step: Step, tokens: torch.Tensor, most: int) -> torch.Tensor:
        """What `step` gives for the first slots. The result is overwritten by the next."""
        cache = self._cache
        assert cache is not None
        rows, most = rows_for(len(tokens), cache.slots), rounded(most, STRIDE)
        if (rows, most) not in self._found:
            self._found[rows, most] = self._record(cache, step, rows, most)
        return self._found[rows, most].play(tokens)


def recorder_on(device: torch.device) -> Recorder | None:
    """None on the CPU, which has no launches to save."""
    return Recorder(device, Graphs()) if device.type == "cuda" else None


class Graphs:
    """Records CUDA graphs, which share their memory: one is played at a time."""

    def __init__(self) -> None:
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, cache: SlotCache, step: Step, rows: int, most: int) -> Graph:
        return Graph(cache, step, rows, most, self._memory)


class Graph:
    """A step as a CUDA graph."""

    def __init__(self, cache: SlotCache, step: Step, rows: int, most: int, memory: Any) -> None:
        self._tokens = torch.zeros(rows, dtype=torch.long, device=cache.lengths.device)
        # What these write where the step under way belongs, that step overwrites.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                step(cache, self._tokens, most)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Weights may arrive by another thread meanwhile, whose calls are no part of the graph.
        with torch.cuda.graph(self._graph, pool=memory, capture_error_mode="thread_local"):
            self._logits = step(cache, self._tokens, most)

    def play(self, tokens: torch.Tensor) -> torch.Tensor:
        self._tokens[: len(tokens)] = tokens
        self._graph.replay()
        return self._logits[: len(tokens)]


def rows_for(live: int, slots: int) -> int:
    """All slots halved as often as still holds the live ones."""
    rows = slots
    while rows // 2 >= max(live, FEWEST):
        rows //= 2
    return rows


def rounded(number: int, step: int) -> int:
    """Up to a multiple of `step`."""
    return -(-number // step) * step
