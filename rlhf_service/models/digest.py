"""Digests of tensors: what a weight hand-over is checked against.

A digest is worked out where the tensor lies, on a GPU at the speed of its memory, and is the same on
every device: sums of 64-bit words, each times an odd number of its own, modulo 2^64. It finds what
goes wrong on the way, not what somebody made up to deceive it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

import torch

WORD = 8
"""Bytes."""
BLOCK = 2**16
"""Words that are summed together; every device must cut alike. With its factors a block stays in a
processor's cache."""
AT_ONCE = {"cpu": 1, "cuda": 16}
"""Blocks in one call, by kind of device: a GPU's calls must take longer than to launch them."""
STEP = 0x2545F4914F6CDD1D
"""Odd: what a block's sum is multiplied with when the next is added."""


def tensor_digest(tensor: torch.Tensor) -> str:
    """128 bits of dtype, shape and bytes, as hex."""
    return digests({"": tensor})[""]


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Digest of each tensor by name; see `tensor_digest`."""
    sums = [block_sums(words_of(tensor)) for tensor in tensors.values()]
    # Together, so that a GPU is waited for once.
    found = _on_host(sums)
    return {
        name: _digest(tensor, blocks)
        for (name, tensor), blocks in zip(tensors.items(), found, strict=True)
    }


def words_of(tensor: torch.Tensor) -> torch.Tensor:
    """[n] int64: the tensor's bytes, filled up with zeros."""
    flat = tensor.detach().contiguous().flatten().view(torch.uint8)
    if len(flat) % WORD == 0 and flat.data_ptr() % WORD == 0:
        return flat.view(torch.int64)
    filled = flat.new_zeros(-(-len(flat) // WORD) * WORD)
    filled[: len(flat)] = flat
    return filled.view(torch.int64)


def block_sums(words: torch.Tensor) -> torch.Tensor:
    """[2, blocks] int64, one row for each of two sets of factors."""
    factors = _factors(words.device)
    whole = len(words) - len(words) % BLOCK
    groups = words[:whole].view(-1, BLOCK).split(AT_ONCE[words.device.type])
    parts = [(factors[:, None] * group).sum(dim=2) for group in groups if len(group)]
    if rest := len(words) - whole:
        parts.append((factors[:, :rest] * words[whole:]).sum(dim=1, keepdim=True))
    return torch.cat(parts, dim=1) if parts else words.new_zeros(2, 0)


@functools.cache
def _factors(device: torch.device) -> torch.Tensor:
    """[2, BLOCK] int64, odd and without a pattern: a place's own factor shows a change of its word
    whatever it is, and words that changed places.
    """
    place = torch.arange(2 * BLOCK, dtype=torch.int64).view(2, BLOCK) + 1
    mixed = place * 0x1E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 30)) * 0x3F58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * 0x14D049BB133111EB
    return ((mixed ^ (mixed >> 31)) | 1).to(device)


def _on_host(sums: list[torch.Tensor]) -> list[list[list[int]]]:
    """Of each tensor its two rows. Tensors may lie on several devices."""
    found: list[list[list[int]]] = [[[], []] for _ in sums]
    for device in {one.device for one in sums}:
        here = [i for i, one in enumerate(sums) if one.device == device]
        for row in (0, 1):
            values = torch.cat([sums[i][row] for i in here]).tolist()
            for i in here:
                count = sums[i].shape[1]
                found[i][row], values = values[:count], values[count:]
    return found


def _digest(tensor: torch.Tensor, blocks: list[list[int]]) -> str:
    whole = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    for row in blocks:
        total = 0
        for value in row:
            total = (total * STEP + value) % 2**64
        whole.update(total.to_bytes(8, "little"))
    return whole.hexdigest()
