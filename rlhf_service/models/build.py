"""Language models from scratch."""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_service.models.lstm import LstmConfig
from rlhf_service.spec.model import ScratchModel


def build_scratch(
    spec: ScratchModel, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """A randomly initialised network for `tokenizer`, fp32 on the CPU, without dropout.

    The same seed gives the same weights; the global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            scratch_config(spec, tokenizer), dtype=torch.float32
        )
    return model


def scratch_config(spec: ScratchModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """GPT-2 style, Llama style or LSTM configuration."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if spec.architecture == "lstm":
        return LstmConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec.hidden_size,
            num_hidden_layers=spec.num_layers,
            max_position_embeddings=spec.context_length,
            **special,
        )
    if spec.architecture == "gpt2":
        return GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=spec.context_length,
            n_embd=spec.hidden_size,
            n_layer=spec.num_layers,
            n_head=spec.num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **special,
        )
    return LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=spec.context_length,
        hidden_size=spec.hidden_size,
        intermediate_size=8 * spec.hidden_size // 3 // 8 * 8,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_heads,
        tie_word_embeddings=True,
        **special,
    )
