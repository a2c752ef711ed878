"""Encoders (BERT style) as the start of reward models."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel

from rlhf_service.models.load import load_causal_lm, load_config, load_network

CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How the architectures of decoders end."""


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether the network reads a whole text at once, as BERT does, and generates none."""
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        return False
    named = config.architectures or ()
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not any(
        name.endswith(CAUSAL) for name in named
    )


def load_encoder(folder: Path) -> PreTrainedModel:
    """The network that gives each token its last hidden state, fp32. Raises ModelError."""
    return load_network(AutoModel, folder, load_config(folder), torch.float32, "encoder")


def load_scorer_base(folder: Path) -> PreTrainedModel:
    """What a reward model can be made of: a causal LM, or an encoder; fp32. Raises ModelError."""
    config = load_config(folder)
    if is_encoder(config):
        return load_encoder(folder)
    return load_causal_lm(folder, torch.float32)
