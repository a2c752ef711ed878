"""Pretraining: next-token prediction on documents packed into full blocks."""

from __future__ import annotations

from rlhf_service.data.plan import split_holdout
from rlhf_service.data.rows import TextRow, read_text
from rlhf_service.data.tokens import pack_documents
from rlhf_service.spec.stages import PretrainStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.finish import export_policy
from rlhf_service.stages.language import LanguageTrainer
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.start import require_length, start, what_learns


def run_pretrain(context: StageContext, stage: PretrainStage, field: str) -> None:
    """Train, then export the model. `field` is the stage's place in the spec, for errors."""
    documents, held_out = documents_of(context, stage, field)
    begun = start(context, stage, lambda: (row.text for row in documents))
    require_length(begun, stage.max_length, f"{field}.max_length")
    engine = context.engines(what_learns(context, stage, begun), stage.optimizer)
    trainer = LanguageTrainer(
        context,
        stage,
        engine,
        pack_documents(documents, begun.tokenizer, stage.max_length, f"{field}.data.path"),
        pack_documents(held_out, begun.tokenizer, stage.max_length, None) if held_out else [],
    )
    run_steps(context, trainer)
    export_policy(context, stage, engine, begun, {"validation_loss": trainer.validation_loss})


def documents_of(
    context: StageContext, stage: PretrainStage, field: str
) -> tuple[list[TextRow], list[TextRow]]:
    """Training and held-out documents."""
    documents = read_text(stage.data, f"{field}.data.path")
    if stage.validation is not None:
        return documents, read_text(stage.validation, f"{field}.validation.path")
    return split_holdout(documents, stage.holdout, context.spec.seed)
