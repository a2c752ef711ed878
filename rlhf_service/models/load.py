"""Networks from local Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from rlhf_service.errors import ModelError
from rlhf_service.models import lstm as lstm  # registers it
from rlhf_service.models.check import CLASSIFIER

# A bar for each folder read or written is noise in a job's log.
disable_progress_bar()

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
    if any(name.endswith(CLASSIFIER) for name in config.architectures or ()):
        raise ModelError(
            f"{folder} is a classifier or reward model, which generates no text; "
            "give a causal LM's folder"
        )
    return load_network(AutoModelForCausalLM, folder, config, dtype, "causal LM")


def load_network(
    auto: Any, folder: Path, config: PreTrainedConfig, dtype: torch.dtype, kind: str
) -> PreTrainedModel:
    """What the Auto class `auto` makes of `folder`, every weight read from its safetensors files.

    Raises ModelError, also for a weight that the files lack: it would be drawn at random.
    """
    try:
        network, report = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as fault:
        # transformers says of wrong shapes only that they are in its log.
        why = "weight shapes differ" if isinstance(fault, RuntimeError) else str(fault)
        raise ModelError(
            f"{folder} has no {kind} that can be loaded ({why}); it needs the config.json and the "
            f"whole safetensors weights of one {kind}"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder} is no whole {kind}: {len(missing)} of its weights are missing, first "
            f"{missing[0]}; give the folder that has them"
        )
    return network
