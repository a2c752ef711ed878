"""Reward modelling: Bradley–Terry on preference pairs (Stiennon et al. 2020)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlhf_service.algorithms.losses import bradley_terry
from rlhf_service.data.plan import RowPlan, split_holdout
from rlhf_service.data.rows import PreferenceRow, read_preferences
from rlhf_service.data.tokens import PairRow, collate_sequences, encode_preferences
from rlhf_service.learner.base import Engine
from rlhf_service.learner.schedule import learning_rate
from rlhf_service.models.heads import RewardModel
from rlhf_service.prompts import shard
from rlhf_service.reports import PreferenceReport
from rlhf_service.spec.stages import RewardStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.finish import model_card
from rlhf_service.stages.language import VALIDATION_EVERY, require_finite
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.start import require_length, start

CENTRING_PAIRS = 256
"""Pairs whose mean score becomes 0."""


def run_reward(context: StageContext, stage: RewardStage, field: str) -> None:
    """Train, centre, then export the reward model. `field` is the stage's place in the spec."""
    pairs, held_out = pairs_of(context, stage, field)
    begun = start(context, stage, lambda: (p.prompt + p.chosen for p in pairs))
    require_length(begun, stage.max_length, f"{field}.max_length")
    network = RewardModel.of(begun.model, seed=context.spec.seed)
    engine = context.engines(network, stage.optimizer)
    trainer = RewardTrainer(
        context,
        stage,
        engine,
        encode_preferences(pairs, begun.tokenizer, stage.max_length),
        encode_preferences(held_out, begun.tokenizer, stage.max_length),
    )
    run_steps(context, trainer)
    bias = -trainer.mean_score()
    state = engine.full_state()
    if state is not None:
        figures = {"validation_accuracy": trainer.validation_accuracy}
        card = model_card(context, stage, figures)
        network.export(context.folder.stage_model(stage.name), state, begun.tokenizer, bias, card)
    context.group.barrier()


def pairs_of(
    context: StageContext, stage: RewardStage, field: str
) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
    """Training and held-out pairs."""
    pairs = read_preferences(stage.data, f"{field}.data.path")
    if stage.validation is not None:
        return pairs, read_preferences(stage.validation, f"{field}.validation.path")
    return split_holdout(pairs, stage.holdout, context.spec.seed)


def pair_length(pair: PairRow) -> int:
    """Tokens of its longer sequence."""
    return max(len(pair.chosen), len(pair.rejected))


class RewardTrainer:
    """Trains a network that gives one score for each sequence."""

    def __init__(
        self,
        context: StageContext,
        stage: RewardStage,
        engine: Engine,
        pairs: Sequence[PairRow],
        held_out: Sequence[PairRow],
    ) -> None:
        self.name, self.kind, self.steps = stage.name, stage.type, stage.steps
        self._context, self._stage, self._engine = context, stage, engine
        self._pairs, self._held_out = pairs, held_out
        self._plan = RowPlan(len(pairs), stage.batch_size, context.spec.seed)
        self.validation_accuracy: float | None = None

    def begin(self) -> None:
        return None

    def step(self, step: int) -> PreferenceReport:
        started = time.perf_counter()
        group, batch_size = self._context.group, self._stage.batch_size
        mine = shard(self._plan.rows(step - 1), group.rank, group.size)
        rate = learning_rate(self._stage.optimizer, step - 1, self.steps)
        sums = torch.zeros(3, dtype=torch.float64)
        # Pairs of like length together: less padding, the same sum.
        for pairs in self._microbatches(sorted((self._pairs[i] for i in mine), key=pair_length)):
            chosen, rejected = self._scores(pairs)
            margins = torch.tensor([p.margin for p in pairs], device=chosen.device)
            losses = bradley_terry(chosen, rejected, margins)
            self._engine.backward(losses.sum() / batch_size)
            gaps = (chosen - rejected).detach()
            sums += (
                torch.stack([losses.detach().sum(), (gaps > 0).sum(), gaps.sum()]).double().cpu()
            )
        loss, accuracy, margin = (group.sum(sums) / batch_size).tolist()
        require_finite(loss, "loss", step)
        norm = self._engine.step(rate)
        require_finite(norm, "gradient", step)
        seconds = time.perf_counter() - started
        due = step % VALIDATION_EVERY == 0 or step == self.steps
        measured = self._validate() if due else None
        self.validation_accuracy = measured if due else self.validation_accuracy
        return PreferenceReport(
            loss=loss,
            accuracy=accuracy,
            margin=margin,
            grad_norm=norm,
            learning_rate=rate,
            seconds=seconds,
            pairs_per_second=batch_size / seconds,
            validation_accuracy=measured,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        self._engine.save(folder / "reward")
        return {"validation_accuracy": self.validation_accuracy}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        self._engine.load(folder / "reward")
        self.validation_accuracy = state["validation_accuracy"]

    @torch.no_grad()
    def mean_score(self) -> float:
        """Mean score over both answers of held-out (else training) pairs. The same on every rank."""
        pairs = list(self._held_out or self._pairs)[:CENTRING_PAIRS]
        total = sum(
            float(s.sum()) for part in self._microbatches(pairs) for s in self._scores(part)
        )
        return total / (2 * len(pairs))

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Share of held-out pairs ranked right. Every rank measures them all."""
        if not self._held_out:
            return None
        right = 0.0
        for pairs in self._microbatches(list(self._held_out)):
            chosen, rejected = self._scores(pairs)
            right += float((chosen > rejected).sum())
        return right / len(self._held_out)

    def _scores(self, pairs: Sequence[PairRow]) -> tuple[torch.Tensor, torch.Tensor]:
        sequences = [p.chosen for p in pairs] + [p.rejected for p in pairs]
        batch = collate_sequences(sequences).to(self._context.device)
        scores = self._engine.module(batch.input_ids, batch.attention_mask).float()
        return scores[: len(pairs)], scores[len(pairs) :]

    def _microbatches(self, pairs: list[PairRow]) -> list[list[PairRow]]:
        size = self._context.spec.learner.micro_batch_size
        return [pairs[start : start + size] for start in range(0, len(pairs), size)]
