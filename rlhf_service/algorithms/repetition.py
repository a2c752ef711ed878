"""How much a sequence says again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def repeated_share(items: Sequence[Hashable], ngram: int) -> float:
    """Share of the n-grams that occurred before; 0 in a sequence shorter than one."""
    grams = [tuple(items[i : i + ngram]) for i in range(len(items) - ngram + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
