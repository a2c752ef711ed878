"""Where a stage starts: its network and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.data.turns import converses
from rlhf_service.errors import UserError
from rlhf_service.models.adapter import adapt
from rlhf_service.models.build import build_scratch
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.tokenizer import load_tokenizer, train_tokenizer
from rlhf_service.spec.model import ScratchModel
from rlhf_service.spec.stages import StageSpec
from rlhf_service.stages.context import StageContext


def whole_causal_lm(folder: Path) -> PreTrainedModel:
    """In fp32. Raises ModelError."""
    return load_causal_lm(folder, torch.float32)


@dataclass(frozen=True, slots=True)
class Start:
    """A causal LM and its tokenizer, in fp32 on the CPU."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path | None
    """Where the network was read; None for one from scratch."""

    @property
    def context_length(self) -> int | None:
        """Most tokens the network can hold, when it says."""
        return getattr(self.model.config, "max_position_embeddings", None)


def start(
    context: StageContext,
    stage: StageSpec,
    texts: Callable[[], Iterable[str]],
    load: Callable[[Path], PreTrainedModel] = whole_causal_lm,
) -> Start:
    """Load or build the stage's network. `texts` train the tokenizer of a scratch model."""
    model = context.spec.start_of(stage)
    if isinstance(model, ScratchModel):
        tokenizer = scratch_tokenizer(context, stage.name, model, texts)
        return Start(build_scratch(model, tokenizer, context.spec.seed), tokenizer, None)
    folder = context.model_folder(model)
    return Start(load(folder), load_tokenizer(folder), folder)


def what_learns(context: StageContext, stage: StageSpec, begun: Start) -> torch.nn.Module:
    """The stage's network, or its network frozen under a fresh adapter. Raises ModelError."""
    if stage.adapter is None:
        return begun.model
    return adapt(begun.model, stage.adapter, context.spec.seed, base_folder(begun))


def base_folder(begun: Start) -> Path:
    """Where the network under an adapter was read."""
    assert begun.folder is not None  # the spec allows no adapter on a network from scratch
    return begun.folder


def scratch_tokenizer(
    context: StageContext, name: str, model: ScratchModel, texts: Callable[[], Iterable[str]]
) -> PreTrainedTokenizerBase:
    """The given tokenizer, or one trained by rank 0 and shared through the job's folder."""
    if model.tokenizer is not None:
        return load_tokenizer(Path(model.tokenizer))
    folder = context.folder.tokenizer(name)
    if context.group.rank == 0 and not (folder / "tokenizer.json").exists():
        trained = train_tokenizer(texts(), model.vocab_size, conversations=converses(context.spec))
        trained.save_pretrained(folder)
    context.group.barrier()
    return load_tokenizer(folder)


def require_length(start: Start, length: int, field: str) -> None:
    """Raises UserError when rows of `length` tokens do not fit the network."""
    most = start.context_length
    if most is not None and length > most:
        raise UserError(
            f"{length} tokens do not fit the model's context of {most}; lower it", field=field
        )
