"""Checks a job's model folders before any process is started. Import-light."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from rlhf_service.errors import ModelError
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.model import FolderModel, ModelSpec, ScratchModel
from rlhf_service.spec.reward import models_in, parts_of
from rlhf_service.spec.rollout import VllmEngineSpec
from rlhf_service.spec.served import ARCHITECTURES, OTHER_ENGINE, origin
from rlhf_service.spec.stages import PpoStage

CLASSIFIER = "ForSequenceClassification"
"""How the architecture of a reward model's folder ends."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""A tokenizer's folder has at least one of them."""


class Use(StrEnum):
    """What a job does with a model."""

    POLICY = "policy"  #: generates text, or is trained to
    CRITIC = "critic"  #: lends its trunk
    REWARD = "reward"  #: scores text
    ENCODER = "encoder"  #: embeds text


def check_model_folders(spec: JobSpec) -> None:
    """Every named folder holds what the job needs of it. Raises ModelError naming the field."""
    for field, model, use in models_of(spec):
        if isinstance(model, FolderModel):
            check_folder(Path(model.path), f"{field}.path", use)
        elif isinstance(model, ScratchModel) and model.tokenizer is not None:
            check_tokenizer(Path(model.tokenizer), f"{field}.tokenizer")
    if isinstance(spec.rollout.engine, VllmEngineSpec):
        check_served(spec)


def check_served(spec: JobSpec) -> None:
    """vLLM can draw from the folders that policies start from. Raises ModelError."""
    for stage in spec.stages:
        field, model = origin(spec, stage)
        if not isinstance(stage, PpoStage) or not isinstance(model, FolderModel):
            continue
        named = architectures_of(Path(model.path), f"{field}.path")
        if named and not ARCHITECTURES & set(named):
            raise ModelError(
                f"vLLM does not serve {named[0]} here (it does {', '.join(sorted(ARCHITECTURES))}); "
                f"start from one of those, {OTHER_ENGINE}",
                f"{field}.path",
            )


def check_folder(folder: Path, field: str, use: Use) -> None:
    """`folder` looks like a Hugging Face model folder, with safetensors weights, fit for `use`."""
    if not folder.is_dir():
        raise ModelError(f"no folder {folder}; give a model folder the cluster can read", field)
    architectures = architectures_of(folder, field)
    scores = any(name.endswith(CLASSIFIER) for name in architectures)
    if use is Use.REWARD and architectures and not scores:
        raise ModelError(
            f"{folder} is no reward model (architectures: {architectures}); "
            "give the folder that a reward stage left",
            field,
        )
    if use is Use.POLICY and scores:
        raise ModelError(
            f"{folder} is a reward model (architectures: {architectures}), which generates no text; "
            "give a causal LM's folder",
            field,
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no *.safetensors weights (architectures: {architectures}); save the model "
            "with save_pretrained, pickled weights are not loaded",
            field,
        )
    if use is not Use.CRITIC:
        check_tokenizer(folder, field)


def architectures_of(folder: Path, field: str) -> list[str]:
    """What config.json says the weights are; empty when it does not say. Raises ModelError."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} has no config.json; give a Hugging Face model folder", field)
    try:
        named = json.loads(config.read_text(encoding="utf-8")).get("architectures")
    except (ValueError, AttributeError, RecursionError):
        raise ModelError(
            f"{config} is not a JSON object; restore the original file", field
        ) from None
    return [str(name) for name in named] if isinstance(named, list) else []


def check_tokenizer(folder: Path, field: str) -> None:
    """`folder` looks like it holds a tokenizer. Raises ModelError."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); save one there with "
            "save_pretrained",
            field,
        )


def models_of(spec: JobSpec) -> Iterator[tuple[str, ModelSpec | None, Use]]:
    """Every model of the spec: dotted field, model, use."""
    yield "model", spec.model, Use.POLICY
    for index, stage in enumerate(spec.stages):
        at = f"stages[{index}]"
        yield f"{at}.model", stage.model, Use.POLICY
        if not isinstance(stage, PpoStage):
            continue
        yield f"{at}.critic", stage.critic, Use.CRITIC
        for field, reward in stage.rewards():
            for place, model in models_in(reward, f"{at}.{field}"):
                yield place, model, Use.REWARD
            for place, part in parts_of(reward, f"{at}.{field}"):
                yield f"{place}.encoder", getattr(part, "encoder", None), Use.ENCODER
