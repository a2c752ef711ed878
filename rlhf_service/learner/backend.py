"""What joins the processes of a group, by the kind of device they compute on."""

from __future__ import annotations

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""Of torch.distributed."""
