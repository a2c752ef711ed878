"""The prompt ledger: which places of the prompt plan are trained, so that none is skipped or repeated.

pending → leased → done | quarantined. Leases live in memory only: what was leased when a process
died was not trained by any checkpoint, so after a restart it is pending again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypedDict


class SavedLedger(TypedDict):
    """A ledger as JSON keeps it."""

    cursor: int
    settled: list[int]
    quarantined: list[int]


@dataclass(frozen=True, slots=True)
class PromptLedger:
    """State of every position of the plan. The data cursor is derived from it.

    Example:
        >>> ledger, leased = PromptLedger().lease(3)
        >>> list(leased)
        [0, 1, 2]
        >>> ledger.settle(leased, quarantined={1}).cursor
        3
    """

    cursor: int = 0
    """Every position below is done or quarantined."""

    settled: frozenset[int] = frozenset()
    """Positions at or above the cursor that are done or quarantined already."""

    quarantined: frozenset[int] = frozenset()
    """Positions set aside because no score could be had."""

    leased: frozenset[int] = field(default=frozenset(), compare=False)
    """Handed out, not settled. Never saved."""

    def lease(self, count: int) -> tuple[PromptLedger, list[int]]:
        """The `count` lowest pending positions, marked leased."""
        taken: list[int] = []
        position = self.cursor
        while len(taken) < count:
            if position not in self.settled and position not in self.leased:
                taken.append(position)
            position += 1
        return replace(self, leased=self.leased | set(taken)), taken

    def settle(self, positions: Iterable[int], quarantined: Iterable[int] = ()) -> PromptLedger:
        """Mark leased positions done, those in `quarantined` quarantined."""
        positions = frozenset(positions)
        stray = positions - self.leased
        if stray:
            raise ValueError(
                f"positions {sorted(stray)[:5]} were not leased; settle each lease once"
            )
        settled = self.settled | positions
        cursor = self.cursor
        while cursor in settled:
            cursor += 1
        return PromptLedger(
            cursor=cursor,
            settled=frozenset(p for p in settled if p >= cursor),
            quarantined=self.quarantined | frozenset(quarantined),
            leased=self.leased - positions,
        )

    def saved(self) -> SavedLedger:
        """JSON form for a checkpoint."""
        return SavedLedger(
            cursor=self.cursor,
            settled=sorted(self.settled),
            quarantined=sorted(self.quarantined),
        )

    @classmethod
    def restored(cls, saved: SavedLedger) -> PromptLedger:
        return cls(
            cursor=saved["cursor"],
            settled=frozenset(saved["settled"]),
            quarantined=frozenset(saved["quarantined"]),
        )
