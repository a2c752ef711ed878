"""A network's weights out of what its engine saved, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlhf_service.errors import ModelError

PLAIN = "state.pt"
"""What plain torch engines leave."""
WHOLE = "state/mp_rank_00_model_states.pt"
"""Where DeepSpeed keeps the weights that every rank has whole: ZeRO 0 to 2."""
SHARDS = "state/zero_pp_rank_*_mp_rank_00_model_states.pt"
"""Where it keeps each rank's part: ZeRO 3."""


def saved_state(folder: Path) -> dict[str, torch.Tensor]:
    """Name → tensor of what learns, as `Engine.full_state` told it. Raises ModelError."""
    if (folder / PLAIN).is_file():
        module, _ = read(folder / PLAIN)
        return dict(module)
    if (folder / WHOLE).is_file():
        module = read(folder / WHOLE)["module"]
        return {name: tensor for name, tensor in module.items() if tensor is not None}
    if any(folder.glob(SHARDS)):
        # DeepSpeed is slow to load; only sharded weights need it.
        from rlhf_service.learner.deepspeed import gathered

        return gathered(folder)
    raise ModelError(f"{folder} holds no weights that an engine saved")


def read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)
