"""Checks a job's model folders before any process is started. Import-light."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rlhf_service.errors import ModelError
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.model import FolderModel, ScratchModel
from rlhf_service.spec.reward import BlendReward, RewardModelReward
from rlhf_service.spec.stages import PpoStage


def check_model_folders(spec: JobSpec) -> None:
    """Every named folder holds a configuration and weights. Raises ModelError naming the field."""
    for field, path in model_paths(spec):
        check_folder(Path(path), field)


def check_folder(folder: Path, field: str) -> None:
    """`folder` looks like a Hugging Face model folder with safetensors weights."""
    if not folder.is_dir():
        raise ModelError(f"no folder {folder}; give a model folder the cluster can read", field)
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} has no config.json; give a Hugging Face model folder", field)
    try:
        architecture = json.loads(config.read_text(encoding="utf-8")).get("architectures")
    except (ValueError, AttributeError):
        raise ModelError(
            f"{config} is not a JSON object; restore the original file", field
        ) from None
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no *.safetensors weights (architectures: {architecture}); save the model "
            "with save_pretrained, pickled weights are not loaded",
            field,
        )


def model_paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Every (field, path) of a model folder in the spec."""
    named: list[tuple[str, object]] = [("model", spec.model)]
    for index, stage in enumerate(spec.stages):
        at = f"stages[{index}]"
        named.append((f"{at}.model", stage.model))
        if isinstance(stage, PpoStage):
            named.append((f"{at}.critic", stage.critic))
            blend = isinstance(stage.reward, BlendReward)
            parts = (
                stage.reward.rewards if isinstance(stage.reward, BlendReward) else (stage.reward,)
            )
            for number, part in enumerate(parts):
                where = f"{at}.reward.rewards[{number}].model" if blend else f"{at}.reward.model"
                if isinstance(part, RewardModelReward):
                    named.append((where, part.model))
    for field, model in named:
        if isinstance(model, FolderModel):
            yield f"{field}.path", model.path
        if isinstance(model, ScratchModel) and model.tokenizer is not None:
            pass
