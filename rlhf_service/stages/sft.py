"""Supervised finetuning: next-token prediction on answers only (Ouyang et al. 2022)."""

from __future__ import annotations

from rlhf_service.data.plan import split_holdout
from rlhf_service.data.rows import CompletionRow, read_completions
from rlhf_service.data.tokens import encode_completions
from rlhf_service.spec.stages import SftStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.finish import export_policy
from rlhf_service.stages.language import LanguageTrainer
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.start import require_length, start, what_learns


def run_sft(context: StageContext, stage: SftStage, field: str) -> None:
    """Train, then export the model. `field` is the stage's place in the spec, for errors."""
    rows, held_out = rows_of(context, stage, field)
    begun = start(context, stage, lambda: (row.text() for row in rows))
    require_length(begun, stage.max_length, f"{field}.max_length")
    engine = context.engines(what_learns(context, stage, begun), stage.optimizer)
    trainer = LanguageTrainer(
        context,
        stage,
        engine,
        encode_completions(rows, begun.tokenizer, stage.max_length),
        encode_completions(held_out, begun.tokenizer, stage.max_length),
    )
    run_steps(context, trainer)
    export_policy(context, stage, engine, begun, {"validation_loss": trainer.validation_loss})


def rows_of(
    context: StageContext, stage: SftStage, field: str
) -> tuple[list[CompletionRow], list[CompletionRow]]:
    """Training and held-out rows."""
    rows = read_completions(stage.data, f"{field}.data.path")
    if stage.validation is not None:
        return rows, read_completions(stage.validation, f"{field}.validation.path")
    return split_holdout(rows, stage.holdout, context.spec.seed)
