"""Single values of a data row, checked. Import-light."""

from __future__ import annotations

import math

from rlhf_service.data.sources import Item


def text_of(item: Item, column: str, *, may_be_empty: bool = False) -> str:
    """The text in `column`. Raises ValueError."""
    if column not in item:
        raise ValueError(f"no column {column!r}; it has {sorted(item) or 'no columns'}")
    value = item[column]
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} must be a string, not {type(value).__name__}")
    if not value and not may_be_empty:
        raise ValueError(f"column {column!r} is empty; drop the row or fill it")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"column {column!r} has half of a \\u surrogate pair; write both halves")
    return value


def number_of(item: Item, column: str, default: float) -> float:
    """The finite number in `column`, `default` when there is none. Raises ValueError."""
    value = item.get(column, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"column {column!r} must be a number, not {type(value).__name__}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"column {column!r} must be finite; drop it or give a number")
    return value
