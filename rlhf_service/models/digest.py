"""Digests of tensors: what a weight hand-over is checked against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def tensor_digest(tensor: torch.Tensor) -> str:
    """BLAKE2b-128 of dtype, shape and bytes, as hex."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Digest of each tensor by name."""
    return {name: tensor_digest(tensor) for name, tensor in tensors.items()}
