"""Data rows as users write them, with errors that name the first bad ones. Import-light."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rlhf_service.data.sources import BadRow, Item, items
from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataSpec

Row = TypeVar("Row")

MOST_FAULTS = 10
"""Bad rows named in one error."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """One document."""

    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A prompt and its answer, or a conversation whose assistant turns are learnt."""

    prompt: str
    completion: str
    messages: tuple[Message, ...] = ()
    """When there are messages, prompt and completion are empty."""

    def text(self) -> str:
        """Everything in it, for training a tokenizer."""
        return self.prompt + self.completion + "\n".join(m.content for m in self.messages)


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """Two answers to one prompt, the first preferred."""

    prompt: str
    chosen: str
    rejected: str
    margin: float = 0.0
    """By how much the scores should differ at least."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt, and its whole data row for rewards that compare with a reference."""

    prompt: str
    item: Item


def read_text(spec: DataSpec, field: str) -> list[TextRow]:
    """Rows with `text`. Raises DataError."""
    return _read(spec, field, lambda item: TextRow(_text(item, "text")))


def read_completions(spec: DataSpec, field: str) -> list[CompletionRow]:
    """Rows with `prompt` and `completion`, or `messages`. Raises DataError."""
    return _read(spec, field, _completion)


def read_preferences(spec: DataSpec, field: str) -> list[PreferenceRow]:
    """Rows with `chosen`, `rejected` and, if any, `prompt` and `margin`. Raises DataError."""
    return _read(spec, field, _preference)


def read_prompts(spec: DataSpec, field: str) -> list[PromptRow]:
    """Rows with `prompt`. Raises DataError."""
    return _read(spec, field, lambda item: PromptRow(_text(item, "prompt"), item))


def _read(spec: DataSpec, field: str, parse: Callable[[Item], Row]) -> list[Row]:
    rows: list[Row] = []
    faults: list[str] = []
    for place, item in items(spec, field):
        if spec.limit is not None and len(rows) >= spec.limit:
            break
        try:
            rows.append(parse(_renamed(item, spec.columns)))
        except ValueError as fault:
            faults.append(f"{place}: {fault}")
            if len(faults) == MOST_FAULTS:
                break
    if faults:
        raise DataError(f"{spec.path} {'; '.join(faults)}", field)
    if not rows:
        raise DataError(f"{spec.path} has no rows; add at least one", field)
    return rows


def _renamed(item: Item | BadRow, columns: Mapping[str, str]) -> Item:
    """The row with our names for its columns beside its own. Raises ValueError."""
    if isinstance(item, BadRow):
        raise item
    if not columns:
        return item
    missing = [theirs for theirs in columns.values() if theirs not in item]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; it has {sorted(item) or 'no columns'}")
    return {**item, **{ours: item[theirs] for ours, theirs in columns.items()}}


def _text(item: Item, column: str, *, may_be_empty: bool = False) -> str:
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


def _completion(item: Item) -> CompletionRow:
    if "messages" in item:
        return CompletionRow("", "", _messages(item["messages"]))
    prompt = _text(item, "prompt", may_be_empty=True)
    return CompletionRow(prompt, _text(item, "completion"))


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("column 'messages' must be a list of {role, content} objects")
    messages = []
    for index, turn in enumerate(value):
        if not isinstance(turn, dict):
            raise ValueError(f"messages[{index}] must be an object with role and content")
        messages.append(Message(_text(turn, "role"), _text(turn, "content", may_be_empty=True)))
    if not any(m.role == "assistant" for m in messages):
        raise ValueError("messages has no assistant turn, so there is nothing to learn")
    return tuple(messages)


def _preference(item: Item) -> PreferenceRow:
    margin = item.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise ValueError(f"column 'margin' must be a number, not {type(margin).__name__}")
    try:
        margin = float(margin)
    except OverflowError:
        margin = math.inf
    if not math.isfinite(margin):
        raise ValueError("column 'margin' must be finite; drop it or give a number")
    prompt = _text(item, "prompt", may_be_empty=True) if "prompt" in item else ""
    return PreferenceRow(prompt, _text(item, "chosen"), _text(item, "rejected"), margin)
