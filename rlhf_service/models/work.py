"""How much arithmetic a network's passes ask for, and how fast its device multiplies."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rlhf_service.models.settled import settled

HEADS = frozenset({"lm_head", "embed_out", "score", "classifier", "head"})
"""What transformers' networks, and those here, call their last layer."""
SIZE = {"cpu": 512, "cuda": 4096}
"""Sides of the matrices whose product is timed; small enough to be quick."""


@dataclass(frozen=True, slots=True)
class Work:
    """Matrix weights of a network. A pass multiplies and adds each of them once for each token; what
    attention and other layers do besides is little at the lengths of responses and left out.
    """

    trunk: int
    """Weights that every token goes through."""
    head: int
    """Weights that only predicted tokens go through."""
    learnt: float
    """Share of the weights that have a gradient of their own."""

    def forward(self, tokens: float, predicted: float) -> float:
        """Operations of reading `tokens` tokens, of which so many are predicted from."""
        return 2.0 * (self.trunk * tokens + self.head * predicted)

    def learn(self, tokens: float, predicted: float) -> float:
        """With the gradient: once more for what flows back, and once for the weights that learn."""
        return self.forward(tokens, predicted) * (2.0 + self.learnt)


def work_of(network: torch.nn.Module) -> Work:
    """Of a network, or of one that DeepSpeed holds, whole or in parts."""
    sizes = list(_matrices(network))
    trunk, head = (sum(size for is_head, size, _ in sizes if is_head is at) for at in (False, True))
    learnt = sum(size for _, size, learns in sizes if learns)
    return Work(trunk, head, learnt / max(1, trunk + head))


def _matrices(network: torch.nn.Module) -> Iterator[tuple[bool, int, bool]]:
    """(whether a head's, size, whether it learns) of each matrix that tokens are multiplied with."""
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Embedding):
            continue
        for weight in module.parameters(recurse=False):
            # Under ZeRO-3 a weight is empty and keeps its shape aside.
            shape = getattr(weight, "ds_shape", weight.shape)
            if len(shape) > 1:
                yield name.rpartition(".")[2] in HEADS, shape.numel(), weight.requires_grad


@functools.cache
def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of torch's own matrix product there: the best of several, once a process."""
    size = SIZE.get(device.type, 1024)
    left = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        settled(device)
        started = time.perf_counter()
        left @ left
        settled(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best
