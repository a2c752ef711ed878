"""Next-token training on rows of tokens: what pretraining and SFT share."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlhf_service.algorithms.losses import cross_entropy_sum
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.tokens import TokenRow, collate_tokens
from rlhf_service.errors import NonFiniteLoss, TrainingError
from rlhf_service.learner.base import Engine
from rlhf_service.learner.schedule import learning_rate
from rlhf_service.learner.stopwatch import Stopwatch
from rlhf_service.models.work import work_of
from rlhf_service.prompts import shard
from rlhf_service.reports import SupervisedReport
from rlhf_service.spec.stages import PretrainStage, SftStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.speed import achieved, peak_of

VALIDATION_EVERY = 20
"""Steps between measurements on the held-out rows; the last step is always measured."""


class LanguageTrainer:
    """Trains a causal LM on rows whose loss mask says which tokens are predicted."""

    over: str | None = None
    unwell: TrainingError | None = None

    def __init__(
        self,
        context: StageContext,
        stage: PretrainStage | SftStage,
        engine: Engine,
        rows: Sequence[TokenRow],
        held_out: Sequence[TokenRow],
    ) -> None:
        self.name, self.kind, self.steps = stage.name, stage.type, stage.steps
        self._context, self._stage, self._engine = context, stage, engine
        self._rows, self._held_out = rows, held_out
        self._plan = RowPlan(len(rows), stage.batch_size, context.spec.seed)
        self.validation_loss: float | None = None
        self._work, self._peak = work_of(engine.module), peak_of(context)

    def begin(self) -> None:
        return None

    def step(self, step: int) -> SupervisedReport:
        started = time.perf_counter()
        group = self._context.group
        mine = shard(self._plan.rows(step - 1), group.rank, group.size)
        rate = learning_rate(self._stage.optimizer, step - 1, self.steps)
        rows = [self._rows[i] for i in mine]
        loss, tokens = self._learn(rows)
        stepping = Stopwatch(self._context.device)
        with stepping:
            norm = self._engine.step(rate)
        require_finite(norm, "gradient", step)
        seconds = time.perf_counter() - started
        if step % VALIDATION_EVERY == 0 or step == self.steps:
            self.validation_loss = self._validate()
            measured = self.validation_loss
        else:
            measured = None
        return SupervisedReport(
            loss=loss,
            tokens=int(tokens),
            grad_norm=norm,
            learning_rate=rate,
            seconds=seconds,
            optimizer_seconds=stepping.seconds,
            tokens_per_second=tokens / seconds,
            flops_per_second=achieved(self._context, self._operations(rows), seconds),
            peak_flops_per_second=self._peak,
            validation_loss=measured,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        self._engine.save(folder / "policy")
        return {"validation_loss": self.validation_loss}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        self._engine.load(folder / "policy")
        self.validation_loss = state["validation_loss"]

    def _operations(self, rows: Sequence[TokenRow]) -> float:
        tokens = sum(len(row.token_ids) for row in rows)
        return self._work.learn(tokens, sum(row.num_targets for row in rows))

    def _learn(self, rows: list[TokenRow]) -> tuple[float, float]:
        """Backward through this rank's rows. Returns the global loss and its token count."""
        group = self._context.group
        local = torch.tensor(float(sum(row.num_targets for row in rows)))
        total = float(group.sum(local))
        loss = 0.0
        # Rows of like length together: less padding, the same sum.
        for part in self._microbatches(sorted(rows, key=lambda row: len(row.token_ids))):
            summed = self._loss_sum(part)
            self._engine.backward(summed / total)
            loss += float(summed.detach()) / total
        loss = float(group.sum(torch.tensor(loss, dtype=torch.float64)))
        require_finite(loss, "loss", None)
        return loss, total

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Nats per token on the held-out rows."""
        if not self._held_out:
            return None
        group = self._context.group
        # Every rank runs the same number of passes: under ZeRO-3 a forward pass is collective.
        share = math.ceil(len(self._held_out) / group.size)
        mine = list(self._held_out[group.rank * share : (group.rank + 1) * share])
        missing = share - len(mine)
        counted = [(row, 1.0) for row in mine] + [(self._held_out[0], 0.0)] * missing
        sums = torch.zeros(2, dtype=torch.float64)
        for row_part in self._microbatches(counted):
            rows = [row for row, weight in row_part if weight]
            summed = self._loss_sum([row for row, _ in row_part] if not rows else rows)
            if rows:
                sums += torch.tensor([float(summed), float(sum(r.num_targets for r in rows))])
        total_loss, total = group.sum(sums).tolist()
        return total_loss / max(total, 1.0)

    def _loss_sum(self, rows: list[TokenRow]) -> torch.Tensor:
        batch = collate_tokens(rows).to(self._context.device)
        logits = self._engine.module(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
        summed, _ = cross_entropy_sum(
            logits[:, :-1], batch.input_ids[:, 1:], batch.loss_mask[:, 1:]
        )
        return summed

    def _microbatches(self, rows: list):  # type: ignore[no-untyped-def, type-arg]
        size = self._context.spec.learner.micro_batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]


def require_finite(value: float, what: str, step: int | None) -> None:
    """Raises NonFiniteLoss when `value` is NaN or infinite."""
    if not math.isfinite(value):
        where = f" at step {step}" if step else ""
        raise NonFiniteLoss(
            f"the {what} is not finite{where}; lower optimizer.learning_rate or use precision fp32"
        )
