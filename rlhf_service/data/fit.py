"""What a data file can be used for. Import-light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rlhf_service.data.rows import (
    BadRows,
    CompletionRow,
    PreferenceRow,
    PromptRow,
    TextRow,
    read_completions,
    read_preferences,
    read_prompts,
    read_text,
)
from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataSpec

Row = TextRow | CompletionRow | PreferenceRow | PromptRow

READERS: Mapping[str, Callable[[DataSpec, str], Sequence[Row]]] = {
    "pretrain": read_text,
    "sft": read_completions,
    "reward, dpo": read_preferences,
    "ppo and its kind, evaluation": read_prompts,
}
"""Kinds of stage → how they read a file."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a kind of stage can read a file."""

    stages: str
    rows: int
    median_length: int
    """Of all text of a row, characters."""
    longest: int
    fault: str | None
    """Why not: the first bad rows."""
    bad_rows: tuple[tuple[str, str], ...] = ()
    """The first of them by themselves: place, what is wrong."""


def fits(spec: DataSpec) -> list[Fit]:
    """What each kind of stage makes of the file."""
    return [_fit(stages, read, spec) for stages, read in READERS.items()]


def _fit(stages: str, read: Callable[[DataSpec, str], Sequence[Row]], spec: DataSpec) -> Fit:
    try:
        rows = read(spec, "file")
    except DataError as fault:
        bad = fault.rows if isinstance(fault, BadRows) else ()
        return Fit(stages, 0, 0, 0, fault.message, bad)
    lengths = [_length(row) for row in rows]
    return Fit(stages, len(rows), int(median(lengths)), max(lengths), None)


def _length(row: Row) -> int:
    match row:
        case TextRow():
            return len(row.text)
        case CompletionRow():
            return len(row.text())
        case PreferenceRow():
            return len(row.text()) + len(row.rejected)
        case PromptRow():
            return len(row.prompt)
