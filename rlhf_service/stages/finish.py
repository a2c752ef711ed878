"""The end of a stage: its model as a plain Hugging Face folder, then its completion mark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rlhf_service.learner.base import Engine
from rlhf_service.models.adapter import adapt, in_precision_of, merge
from rlhf_service.models.export import ModelCard, export_model
from rlhf_service.models.heap import give_back_freed
from rlhf_service.models.load import load_causal_lm
from rlhf_service.spec.stages import StageSpec
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.start import Start, base_folder
from rlhf_service.storage import write_atomically


def export_policy(
    context: StageContext,
    stage: StageSpec,
    engine: Engine,
    begun: Start,
    figures: Mapping[str, float | None],
) -> None:
    """Write the policy's folder. Collective; rank 0 writes."""
    state = engine.full_state()
    if state is not None:
        model = begun.model
        if stage.adapter is not None:
            model, state = merged(context, stage, begun, state)
        card = model_card(context, stage, figures)
        export_model(context.folder.stage_model(stage.name), model, state, begun.tokenizer, card)
    context.group.barrier()


def merged(
    context: StageContext, stage: StageSpec, begun: Start, learnt: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """The base with the adapter in its weights, in the adapter's precision. Keeps the adapter too."""
    assert stage.adapter is not None
    base = base_folder(begun)
    give_back_freed()  # the base comes beside the engine, and what passes left is not needed again
    adapted = adapt(load_causal_lm(base, torch.float32), stage.adapter, context.spec.seed, base)
    model = merge(adapted, learnt, keep=context.folder.adapter(stage.name))
    return model, in_precision_of(learnt, model)


def model_card(
    context: StageContext, stage: StageSpec, figures: Mapping[str, float | None]
) -> ModelCard:
    """How the model was made."""
    return ModelCard(
        job=context.folder.root.name,
        name=context.spec.name,
        stage=stage.name,
        stages=tuple(f"{s.name} ({s.type}, {s.steps} steps)" for s in context.spec.stages),
        seed=context.spec.seed,
        figures={name: value for name, value in figures.items() if value is not None},
    )


def stage_done(context: StageContext, name: str) -> bool:
    """Whether the stage's model is complete."""
    return done_mark(context, name).exists()


def mark_done(context: StageContext, name: str, seconds: float) -> None:
    """Written last, so that a stage is either complete or resumed from its checkpoint."""
    if context.group.rank == 0:
        write_atomically(done_mark(context, name), json.dumps({"seconds": seconds}))
    context.group.barrier()


def done_mark(context: StageContext, name: str) -> Path:
    return context.folder.stage(name) / "done.json"
