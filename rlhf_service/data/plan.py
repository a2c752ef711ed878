"""Data order as a pure function of the seed and the step: nothing to save, nothing to lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

Row = TypeVar("Row")

HOLDOUT_STREAM = 7_919
"""Separates the hold-out draw from the epoch orders."""


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Seeded epochs over `num_rows` rows, dealt `batch_size` at a time; a batch may span epochs.

    Every row comes exactly once in each epoch.
    """

    num_rows: int
    batch_size: int
    seed: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def row(self, position: int) -> int:
        """The row at a position of the plan, counted over all epochs."""
        epoch, offset = divmod(position, self.num_rows)
        if epoch not in self._orders:
            self._orders.clear()
            rng = np.random.default_rng([self.seed, epoch])
            self._orders[epoch] = rng.permutation(self.num_rows)
        return int(self._orders[epoch][offset])

    def rows(self, step: int) -> list[int]:
        """Rows of batch `step` (0 is the first), over all ranks."""
        first = step * self.batch_size
        return [self.row(position) for position in range(first, first + self.batch_size)]


def split_holdout(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows): a seeded choice of `share` of them, order kept.

    At least one row stays for training.
    """
    count = min(int(len(rows) * share), len(rows) - 1)
    rng = np.random.default_rng([seed, HOLDOUT_STREAM])
    held = set(rng.choice(len(rows), size=count, replace=False).tolist())
    training = [row for i, row in enumerate(rows) if i not in held]
    return training, [row for i, row in enumerate(rows) if i in held]
