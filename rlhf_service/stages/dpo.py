"""Direct preference optimisation (arXiv 2305.18290): the policy is its own reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from rlhf_service.algorithms.logprobs import token_logprobs
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.tokens import AnswerPair, collate_tokens, encode_answers
from rlhf_service.learner.base import Engine
from rlhf_service.models.precision import dtype_of
from rlhf_service.prompts import shard
from rlhf_service.spec.stages import DpoStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.finish import export_policy
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.preference import PreferenceTrainer, pairs_of
from rlhf_service.stages.start import require_length, start, what_learns


def run_dpo(context: StageContext, stage: DpoStage, field: str) -> None:
    """Train, then export the policy. `field` is the stage's place in the spec, for errors."""
    rows, held_out_rows = pairs_of(context, stage, field)
    if not stage.margins:
        rows = [replace(row, margin=0.0) for row in rows]
    begun = start(context, stage, lambda: (row.text() for row in rows))
    require_length(begun, stage.max_length, f"{field}.max_length")
    pairs = encode_answers(rows, begun.tokenizer, stage.max_length, f"{field}.data.path")
    held_out = encode_answers(held_out_rows, begun.tokenizer, stage.max_length, field)

    dtype = dtype_of(context.spec.learner.precision)
    # The policy has not moved yet: now it is the reference.
    reference = Reference(context, begun.model.to(context.device, dtype))
    pairs = reference.annotate(pairs, sorted(rows_visited(context, stage, len(pairs))))
    held_out = reference.annotate(held_out, range(len(held_out)))

    engine = context.engines(what_learns(context, stage, begun), stage.optimizer)
    trainer = PreferenceTrainer(
        context,
        stage,
        engine,
        ImplicitReward(context, engine, stage.beta),
        pairs,
        held_out,
        stage.label_smoothing,
    )
    run_steps(context, trainer)
    figures = {"validation_accuracy": trainer.validation_accuracy}
    export_policy(context, stage, engine, begun, figures)


def rows_visited(context: StageContext, stage: DpoStage, num_rows: int) -> set[int]:
    """The rows that this rank trains on, in all steps."""
    plan = RowPlan(num_rows, stage.batch_size, context.spec.seed)
    group = context.group
    return {
        row for step in range(stage.steps) for row in shard(plan.rows(step), group.rank, group.size)
    }


@dataclass(frozen=True, slots=True)
class Reference:
    """The policy before training."""

    context: StageContext
    network: torch.nn.Module

    @torch.no_grad()
    def annotate(self, pairs: Sequence[AnswerPair], rows: Sequence[int]) -> list[AnswerPair]:
        """`pairs`, those at `rows` with the reference's log-probs of both answers."""
        annotated = list(pairs)
        ordered = sorted(rows, key=lambda row: pairs[row].length)
        size = self.context.spec.learner.micro_batch_size
        for start_at in range(0, len(ordered), size):
            part = ordered[start_at : start_at + size]
            chosen, rejected = answer_logprobs(
                self.network, [pairs[row] for row in part], self.context.device
            )
            for row, c, r in zip(part, chosen.tolist(), rejected.tolist(), strict=True):
                annotated[row] = replace(pairs[row], reference=(c, r))
        return annotated


@dataclass(frozen=True, slots=True)
class ImplicitReward:
    """β·(log π(answer) − log π_ref(answer)), eq. 5 without its partition term."""

    context: StageContext
    engine: Engine
    beta: float

    def __call__(self, pairs: Sequence[AnswerPair]) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, rejected = answer_logprobs(self.engine.module, pairs, self.context.device)
        references = torch.tensor([p.reference for p in pairs], device=chosen.device)
        return self.beta * (chosen - references[:, 0]), self.beta * (rejected - references[:, 1])


def answer_logprobs(
    network: torch.nn.Module, pairs: Sequence[AnswerPair], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """log π of the chosen and of the rejected answers, summed over their tokens; each [n] fp32."""
    rows = [p.chosen for p in pairs] + [p.rejected for p in pairs]
    batch = collate_tokens(rows).to(device)
    logits = network(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).logits
    answered = batch.loss_mask[:, 1:]
    logprobs = token_logprobs(logits[:, :-1][answered], batch.input_ids[:, 1:][answered])
    row_of = answered.nonzero()[:, 0]
    summed = torch.zeros(len(rows), device=device).index_add(0, row_of, logprobs)
    return summed[: len(pairs)], summed[len(pairs) :]
