"""Where a stage starts: its network and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.errors import UserError
from rlhf_service.models.build import build_scratch
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.tokenizer import load_tokenizer, train_tokenizer
from rlhf_service.spec.model import ModelSpec, ScratchModel
from rlhf_service.spec.stages import RewardStage, StageSpec
from rlhf_service.stages.context import StageContext


@dataclass(frozen=True, slots=True)
class Start:
    """A causal LM and its tokenizer, in fp32 on the CPU."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def context_length(self) -> int | None:
        """Most tokens the network can hold, when it says."""
        return getattr(self.model.config, "max_position_embeddings", None)


def stage_model(context: StageContext, stage: StageSpec) -> ModelSpec:
    """The stage's own model, else the last policy trained before it, else the job's."""
    if stage.model is not None:
        return stage.model
    from rlhf_service.spec.model import StageModel

    chosen: ModelSpec = context.spec.model
    for earlier in context.spec.stages:
        if earlier.name == stage.name:
            break
        if not isinstance(earlier, RewardStage):
            chosen = StageModel(stage=earlier.name)
    return chosen


def start(context: StageContext, stage: StageSpec, texts: Callable[[], Iterable[str]]) -> Start:
    """Load or build the stage's network. `texts` train the tokenizer of a scratch model."""
    model = stage_model(context, stage)
    if isinstance(model, ScratchModel):
        tokenizer = scratch_tokenizer(context, stage.name, model, texts)
        return Start(build_scratch(model, tokenizer, context.spec.seed), tokenizer)
    folder = context.model_folder(model)
    return Start(load_causal_lm(folder, torch.float32), load_tokenizer(folder))


def scratch_tokenizer(
    context: StageContext, name: str, model: ScratchModel, texts: Callable[[], Iterable[str]]
) -> PreTrainedTokenizerBase:
    """The given tokenizer, or one trained by rank 0 and shared through the job's folder."""
    if model.tokenizer is not None:
        return load_tokenizer(Path(model.tokenizer))
    folder = context.folder.stage(name) / "tokenizer"
    if context.group.rank == 0 and not (folder / "tokenizer.json").exists():
        train_tokenizer(texts(), model.vocab_size).save_pretrained(folder)
    context.group.barrier()
    return load_tokenizer(folder)


def require_length(start: Start, length: int, field: str) -> None:
    """Raises UserError when rows of `length` tokens do not fit the network."""
    most = start.context_length
    if most is not None and length > most:
        raise UserError(
            f"{length} tokens do not fit the model's context of {most}; lower it", field=field
        )
