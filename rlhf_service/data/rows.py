"""Data rows as users write them, read from JSON Lines with errors that name the line. Import-light."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataSpec

Row = TypeVar("Row")
Item = Mapping[str, object]


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
    path = Path(spec.path)
    if not path.is_file():
        raise DataError(
            f"no file {path}; give the path of a .jsonl file the cluster can read", field
        )
    rows: list[Row] = []
    for number, line in _lines(path, field):
        if spec.limit is not None and len(rows) >= spec.limit:
            break
        try:
            rows.append(parse(_object(line)))
        except ValueError as fault:
            raise DataError(f"{path} line {number}: {fault}", field) from None
    if not rows:
        raise DataError(f"{path} has no rows; add at least one JSON object a line", field)
    return rows


def _lines(path: Path, field: str) -> Iterator[tuple[int, str]]:
    try:
        # A byte-order mark at the start is no part of the first row.
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is not UTF-8 text ({fault.reason}); re-encode it", field) from None
    except OSError as fault:
        raise DataError(
            f"{path} cannot be read ({fault.strerror}); let the service's user read it", field
        ) from None


def _object(line: str) -> Item:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as fault:
        raise ValueError(f"not JSON ({fault.msg} at column {fault.colno})") from None
    except RecursionError:
        raise ValueError("nested too deeply; a row is one flat JSON object") from None
    if not isinstance(item, dict):
        raise ValueError(f"a row must be a JSON object, not {type(item).__name__}")
    return item


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
