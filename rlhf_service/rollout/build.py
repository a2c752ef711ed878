"""A rollout engine from a folder that describes the network."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from rlhf_service.models import lstm as lstm  # registers it
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.rollout.transformers import TransformersEngine


def build_engine(model: Path, precision: str, device: str) -> TransformersEngine:
    """An engine with unset weights: it serves once `load_weights` gave it a version."""
    config = AutoConfig.from_pretrained(model, local_files_only=True)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if (model / "generation_config.json").exists():
        network.generation_config = GenerationConfig.from_pretrained(model, local_files_only=True)
    return TransformersEngine(network.to(device), load_tokenizer(model))
