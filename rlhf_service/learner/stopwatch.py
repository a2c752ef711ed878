"""Seconds of one kind of work within a step."""

from __future__ import annotations

import time
from types import TracebackType

import torch

from rlhf_service.models.settled import settled


class Stopwatch:
    """Adds up what stands in `with` blocks. A GPU is waited for at both ends, so that work which was
    queued before is not taken for the block's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = 0.0
        self.seconds = 0.0

    def __enter__(self) -> None:
        settled(self._device)
        self._started = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        settled(self._device)
        self.seconds += time.perf_counter() - self._started
