"""Training on preference pairs: what reward modelling and DPO share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from rlhf_service.algorithms.losses import bradley_terry
from rlhf_service.data.plan import RowPlan, split_holdout
from rlhf_service.data.rows import PreferenceRow, read_preferences
from rlhf_service.errors import TrainingError
from rlhf_service.learner.base import Engine
from rlhf_service.learner.schedule import learning_rate
from rlhf_service.learner.stopwatch import Stopwatch
from rlhf_service.models.work import work_of
from rlhf_service.prompts import shard
from rlhf_service.reports import PreferenceReport
from rlhf_service.spec.stages import DpoStage, RewardStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.language import VALIDATION_EVERY, require_finite
from rlhf_service.stages.speed import achieved, peak_of


class Pair(Protocol):
    """Two encoded answers."""

    @property
    def margin(self) -> float: ...

    @property
    def length(self) -> int:
        """Tokens of its longer sequence."""
        ...

    @property
    def tokens(self) -> int:
        """Of both sequences."""
        ...

    @property
    def predicted(self) -> int:
        """Places that the network's last layer is asked for."""
        ...


AnyPair = TypeVar("AnyPair", bound=Pair)

Scorer = Callable[[Sequence[AnyPair]], tuple[torch.Tensor, torch.Tensor]]
"""Pairs → scores of the chosen and of the rejected answers, each [n] fp32."""


def pairs_of(
    context: StageContext, stage: RewardStage | DpoStage, field: str
) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
    """Training and held-out pairs."""
    pairs = read_preferences(stage.data, f"{field}.data.path")
    if stage.validation is not None:
        return pairs, read_preferences(stage.validation, f"{field}.validation.path")
    return split_holdout(pairs, stage.holdout, context.spec.seed)


def microbatches(context: StageContext, pairs: Sequence[AnyPair]) -> list[list[AnyPair]]:
    """Parts of at most micro_batch_size pairs, in the order given."""
    size = context.spec.learner.micro_batch_size
    return [list(pairs[start : start + size]) for start in range(0, len(pairs), size)]


class PreferenceTrainer(Generic[AnyPair]):
    """Widens the gap between the scores of chosen and rejected answers."""

    over: str | None = None
    unwell: TrainingError | None = None

    def __init__(
        self,
        context: StageContext,
        stage: RewardStage | DpoStage,
        engine: Engine,
        scores: Scorer[AnyPair],
        pairs: Sequence[AnyPair],
        held_out: Sequence[AnyPair],
        label_smoothing: float = 0.0,
        center_coef: float = 0.0,
    ) -> None:
        self.name, self.kind, self.steps = stage.name, stage.type, stage.steps
        self._context, self._stage, self._engine, self._scores = context, stage, engine, scores
        self._pairs, self._held_out = pairs, held_out
        self._label_smoothing, self._center_coef = label_smoothing, center_coef
        self._plan = RowPlan(len(pairs), stage.batch_size, context.spec.seed)
        self.validation_accuracy: float | None = None
        self._work, self._peak = work_of(engine.module), peak_of(context)

    def begin(self) -> None:
        return None

    def step(self, step: int) -> PreferenceReport:
        started = time.perf_counter()
        group, batch_size = self._context.group, self._stage.batch_size
        mine = shard(self._plan.rows(step - 1), group.rank, group.size)
        rate = learning_rate(self._stage.optimizer, step - 1, self.steps)
        sums = torch.zeros(3, dtype=torch.float64)
        # Pairs of like length together: less padding, the same sum.
        ordered = sorted((self._pairs[i] for i in mine), key=lambda pair: pair.length)
        for pairs in microbatches(self._context, ordered):
            chosen, rejected = self._scores(pairs)
            margins = torch.tensor([p.margin for p in pairs], device=chosen.device)
            losses = bradley_terry(chosen, rejected, margins, label_smoothing=self._label_smoothing)
            objective = losses
            if self._center_coef:
                objective = losses + self._center_coef * (chosen + rejected).square()
            self._engine.backward(objective.sum() / batch_size)
            gaps = (chosen - rejected).detach()
            sums += (
                torch.stack([losses.detach().sum(), (gaps > 0).sum(), gaps.sum()]).double().cpu()
            )
        loss, accuracy, margin = (group.sum(sums) / batch_size).tolist()
        require_finite(loss, "loss", step)
        stepping = Stopwatch(self._context.device)
        with stepping:
            norm = self._engine.step(rate)
        require_finite(norm, "gradient", step)
        seconds = time.perf_counter() - started
        operations = self._work.learn(
            sum(pair.tokens for pair in ordered), sum(pair.predicted for pair in ordered)
        )
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
            optimizer_seconds=stepping.seconds,
            pairs_per_second=batch_size / seconds,
            flops_per_second=achieved(self._context, operations, seconds),
            peak_flops_per_second=self._peak,
            validation_accuracy=measured,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        self._engine.save(folder / self.kind)
        return {"validation_accuracy": self.validation_accuracy}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        self._engine.load(folder / self.kind)
        self.validation_accuracy = state["validation_accuracy"]

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Share of held-out pairs ranked right. Every rank measures them all."""
        if not self._held_out:
            return None
        right = 0.0
        for pairs in microbatches(self._context, self._held_out):
            chosen, rejected = self._scores(pairs)
            right += float((chosen > rejected).sum())
        return right / len(self._held_out)
