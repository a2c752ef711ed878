"""Networks from local Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from rlhf_service.errors import ModelError

DROPOUTS = (
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "attention_dropout",
    "hidden_dropout",
    "dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
)


def load_config(folder: Path) -> PreTrainedConfig:
    """The folder's configuration, every dropout set to 0. Raises ModelError."""
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is no model folder: it has no config.json; give the folder that has"
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as fault:
        raise ModelError(f"{folder}/config.json cannot be used: {fault}") from None
    for name in DROPOUTS:
        if getattr(config, name, None):
            setattr(config, name, 0.0)
    return config


def load_causal_lm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The causal LM in `folder`, on the CPU. Raises ModelError. Pickled weights are refused."""
    config = load_config(folder)
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as fault:
        raise ModelError(
            f"{folder} has no causal LM that can be loaded ({fault}); it needs safetensors weights "
            "of a causal-LM architecture"
        ) from None
