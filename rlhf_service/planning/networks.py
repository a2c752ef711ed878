"""The networks of a job: their shapes, without loading a weight."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from rlhf_service.planning.architectures import UnknownShape, scratch_shape, shape_of
from rlhf_service.planning.shape import Shape
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.model import FolderModel, ModelSpec, ScratchModel
from rlhf_service.spec.stages import RewardStage, StageSpec

HEADER_MOST = 100_000_000
"""Bytes; safetensors allows no longer header."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A network whose arithmetic is not known."""

    why: str


Found = Shape | Unknown


class Networks:
    """Shapes of a job's models, each folder read once."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._folders: dict[str, Found] = {}
        self._stages: Mapping[str, StageSpec] = {stage.name: stage for stage in spec.stages}

    def of(self, model: ModelSpec) -> Found:
        """A stage's model has the shape of what the stage started from."""
        if isinstance(model, ScratchModel):
            return scratch_shape(model, tokenizer_size(model))
        if isinstance(model, FolderModel):
            if model.path not in self._folders:
                self._folders[model.path] = read_folder(Path(model.path))
            return self._folders[model.path]
        return self.start_of(self._stages[model.stage])

    def start_of(self, stage: StageSpec) -> Found:
        """What the stage trains."""
        return self.of(self._spec.start_of(stage))

    def is_reward(self, name: str) -> bool:
        return isinstance(self._stages[name], RewardStage)


def read_folder(folder: Path) -> Found:
    """From config.json; the weights' headers must agree with it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = shape_of(config)
    except UnknownShape as why:
        count = count_parameters(folder)
        known = f"; its weights have {count:,} parameters" if count else ""
        return Unknown(f"{folder.name}: {why}{known}")
    except (OSError, ValueError, RecursionError, AttributeError) as fault:
        return Unknown(f"{folder.name}: its config.json cannot be read ({type(fault).__name__})")
    count = count_parameters(folder)
    # A tied head may be stored twice; classifiers and poolers come and go.
    allowed = (
        min(shape.trunk, shape.scorer) * 0.99,
        1.01 * (shape.causal + shape.vocab * shape.width),
    )
    if count is not None and not allowed[0] <= count <= allowed[1]:
        return Unknown(
            f"{folder.name}: its weights have {count:,} parameters, its config.json describes "
            f"{shape.causal:,}"
        )
    return shape


def count_parameters(folder: Path) -> int | None:
    """Of all safetensors files, from their headers; None when there are none that can be read."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            total += _count(file)
        except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
            return None
    return total or None


def _count(file: Path) -> int:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > HEADER_MOST:
            raise ValueError("no safetensors header")
        header = json.loads(stream.read(length))
    sizes: list[int] = [prod(t["shape"]) for name, t in header.items() if name != "__metadata__"]
    return sum(sizes)


def tokenizer_size(model: ScratchModel) -> int | None:
    """Entries of the tokenizer that a scratch model is given, when its files tell."""
    if model.tokenizer is None:
        return None
    try:
        whole = json.loads((Path(model.tokenizer) / "tokenizer.json").read_text(encoding="utf-8"))
        ids = [*whole["model"]["vocab"].values(), *(t["id"] for t in whole["added_tokens"])]
        return 1 + int(max(ids))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
