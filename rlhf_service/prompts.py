"""The prompt plan: which prompt stands at which position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.records import Prompt


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Tokenised prompts, dealt in seeded epochs."""

    rows: Sequence[PromptRow]
    token_ids: Sequence[tuple[int, ...]]
    plan: RowPlan

    def at(self, positions: Sequence[int], samples: int) -> list[Prompt]:
        """`samples` prompts for each position, side by side."""
        return [
            self._prompt(position, self.plan.row(position), sample)
            for position in positions
            for sample in range(samples)
        ]

    def in_order(self, rows: Sequence[int], samples: int) -> list[Prompt]:
        """The given rows themselves, for evaluation: position is the row."""
        return [self._prompt(row, row, sample) for row in rows for sample in range(samples)]

    def _prompt(self, position: int, row: int, sample: int) -> Prompt:
        return Prompt(
            position=position,
            sample=sample,
            row=row,
            text=self.rows[row].prompt,
            token_ids=self.token_ids[row],
            item=self.rows[row].item,
        )


def shard(items: Sequence[int], rank: int, size: int) -> list[int]:
    """This rank's contiguous share; `len(items)` is a multiple of `size`."""
    share = len(items) // size
    return list(items[rank * share : (rank + 1) * share])
