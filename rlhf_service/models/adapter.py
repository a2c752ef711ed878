"""Low-rank adapters through PEFT: putting them on, off, and into the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from rlhf_service.errors import ModelError, StorageError
from rlhf_service.spec.adapter import LoraSpec

CONFIG = "adapter_config.json"
"""What marks a folder as that of an adapter; PEFT's own name."""


def adapt(network: PreTrainedModel, lora: LoraSpec, seed: int, base: Path) -> Any:
    """A PeftModel: `network`, from folder `base`, frozen, with a fresh adapter that changes nothing.

    It takes `network` over. The same seed gives the same weights. Raises ModelError.
    """
    return _wrapped(network, adapt_config(lora, network, base), seed)


def adapt_config(lora: LoraSpec, network: PreTrainedModel, base: Path) -> Any:
    """PEFT's description of the adapter; saved in a folder, `load_adapted` reads it."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules="all-linear" if lora.targets is None else list(lora.targets),
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=network.config.model_type == "gpt2",  # its Conv1D keeps weights transposed
        base_model_name_or_path=str(base),
        task_type="CAUSAL_LM",
    )


def load_adapted(network: PreTrainedModel, folder: Path) -> Any:
    """`network` with an unset adapter of the kind that `folder` describes."""
    return _wrapped(network, _config(folder), 0)


def base_of(folder: Path) -> Path | None:
    """Folder of the network that `folder`'s adapter belongs on; None when it has no adapter."""
    if not (folder / CONFIG).is_file():
        return None
    return Path(str(_config(folder).base_model_name_or_path))


def learnt_names(network: torch.nn.Module) -> frozenset[str] | None:
    """State-dict names of what learns beside frozen weights; None when every weight learns."""
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    if not frozen:
        return None
    return frozenset(name for name, p in network.named_parameters() if p.requires_grad)


def merge(
    network: Any, learnt: Mapping[str, torch.Tensor], keep: Path | None = None
) -> PreTrainedModel:
    """The plain network that a PeftModel with the tensors `learnt` amounts to. It is used up.

    The adapter itself goes into folder `keep`, in PEFT's format. Raises StorageError.
    """
    network.load_state_dict(dict(learnt), strict=False)
    if keep is not None:
        try:
            network.save_pretrained(str(keep))
        except (OSError, SafetensorError) as fault:
            raise StorageError(
                f"the adapter could not be written to {keep} ({fault}); free space there, then resume"
            ) from fault
    return network.merge_and_unload()


def in_precision_of(
    learnt: Mapping[str, torch.Tensor], network: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """`network`'s state dict in the precision in which `learnt` was trained."""
    dtype = next(iter(learnt.values())).dtype
    return {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}


@dataclass(frozen=True, slots=True)
class WithoutAdapter:
    """Calls a network as if its adapter were not there: the reference of a policy that has one."""

    adapted: Any
    """The PeftModel that `network` is, or wraps."""
    network: torch.nn.Module

    def __call__(self, **inputs: Any) -> Any:
        with self.adapted.disable_adapter():
            return self.network(**inputs)


def _wrapped(network: PreTrainedModel, config: Any, seed: int) -> Any:
    from peft import PeftModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return PeftModel(network, config, autocast_adapter_dtype=False)
        except ValueError as fault:
            raise ModelError(
                f"a {network.config.model_type} model takes no such adapter: {fault}; name layers it "
                "has in adapter.targets, or leave the adapter out"
            ) from None


def _config(folder: Path) -> Any:
    from peft import LoraConfig

    return LoraConfig.from_pretrained(str(folder))
