"""Waiting for a device, before a clock is read."""

from __future__ import annotations

import torch


def settled(device: torch.device) -> None:
    """Wait until a GPU has done all it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
