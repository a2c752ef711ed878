"""A rollout engine from a folder that describes the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from rlhf_service.models.adapter import base_of, load_adapted
from rlhf_service.models.digest import digests
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.precision import dtype_of
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.rollout.transformers import TransformersEngine
from rlhf_service.spec.learner import Precision
from rlhf_service.spec.rollout import EngineSpec, VllmEngineSpec


def serve_folder(folder: Path) -> tuple[TransformersEngine, PreTrainedTokenizerBase]:
    """An engine that serves the folder's own weights in fp32 as version 1, and its tokenizer."""
    network, tokenizer = load_causal_lm(folder, torch.float32), load_tokenizer(folder)
    engine = TransformersEngine(network, tokenizer)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    return engine, tokenizer


def build_served(
    engine: EngineSpec, model: Path, precision: Precision, device: str, threads: int
) -> Any:
    """The engine that a job names, with unset weights. Raises EngineUnavailable."""
    if isinstance(engine, VllmEngineSpec):
        from rlhf_service.rollout.vllm import build_vllm

        return build_vllm(engine, model, precision, device, threads)
    return build_engine(model, precision, device, engine.max_sequences)


def build_engine(
    model: Path, precision: Precision, device: str, max_sequences: int = 64
) -> TransformersEngine:
    """An engine with unset weights: it serves once `load_weights` gave it a version.

    Of a folder that describes an adapter, only the adapter's weights are unset.
    """
    dtype = dtype_of(precision)
    base = base_of(model)
    if base is not None:
        network = load_adapted(load_causal_lm(base, dtype), model).to(dtype)
    else:
        config = AutoConfig.from_pretrained(model, local_files_only=True)
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if (model / "generation_config.json").exists():
        network.generation_config = GenerationConfig.from_pretrained(model, local_files_only=True)
    return TransformersEngine(
        network.to(device), load_tokenizer(model), max_sequences=max_sequences
    )
