"""Data rows as users write them, with errors that name the first bad ones. Import-light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rlhf_service.data.cells import number_of, text_of
from rlhf_service.data.messages import Conversation, answered, asked, shown, turns_in, two_answers
from rlhf_service.data.sources import BadRow, Item, items
from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataSpec

Row = TypeVar("Row")


class BadRows(DataError):
    """Rows of a file that cannot be read, each with its place and what is wrong."""

    def __init__(
        self, message: str, field: str | None, rows: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, field)
        self.rows = rows

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str | None]]:
        return DataError, (self.message, self.field)


MOST_FAULTS = 10
"""Bad rows named in one error."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """One document."""

    text: str


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A prompt and its answer, or a conversation whose assistant turns are learnt."""

    prompt: str
    completion: str
    messages: Conversation = ()
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
    messages: Conversation = ()
    """The conversation that the answers continue; then `prompt` is empty."""

    def text(self) -> str:
        """Everything but the rejected answer, for training a tokenizer."""
        return shown(self.messages) + self.prompt + self.chosen


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt, and its whole data row for rewards that compare with a reference."""

    prompt: str
    """As text for readers, also when it is a conversation."""
    item: Item
    messages: Conversation = ()
    """The conversation to be continued, when the row has one."""


def read_text(spec: DataSpec, field: str) -> list[TextRow]:
    """Rows with `text`. Raises DataError."""
    return _read(spec, field, lambda item: TextRow(text_of(item, "text")))


def read_completions(spec: DataSpec, field: str) -> list[CompletionRow]:
    """Rows with `prompt` and `completion`, or `messages`. Raises DataError."""
    return _read(spec, field, _completion)


def read_preferences(spec: DataSpec, field: str) -> list[PreferenceRow]:
    """Rows with two answers, as text or as turns, or as OpenAI writes them. Raises DataError."""
    return _read(spec, field, _preference)


def read_prompts(spec: DataSpec, field: str) -> list[PromptRow]:
    """Rows with `prompt` or `messages`. Raises DataError."""
    return _read(spec, field, _prompt)


def _read(spec: DataSpec, field: str, parse: Callable[[Item], Row]) -> list[Row]:
    rows: list[Row] = []
    faults: list[tuple[str, str]] = []
    for place, item in items(spec, field):
        if spec.limit is not None and len(rows) >= spec.limit:
            break
        try:
            rows.append(parse(_renamed(item, spec.columns)))
        except ValueError as fault:
            faults.append((place, str(fault)))
            if len(faults) == MOST_FAULTS:
                break
    if faults:
        raise BadRows(f"{spec.path} {told(faults)}", field, tuple(faults))
    if not rows:
        raise DataError(f"{spec.path} has no rows; add at least one", field)
    return rows


def told(faults: list[tuple[str, str]]) -> str:
    """Bad rows in one sentence, `line 3, 5: …`; what is wrong with several is said once."""
    places: dict[str, list[str]] = {}
    for place, fault in faults:
        places.setdefault(fault, []).append(place)
    return "; ".join(
        f"{', '.join([first, *(other.split()[-1] for other in others)])}: {fault}"
        for fault, (first, *others) in places.items()
    )


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


def _completion(item: Item) -> CompletionRow:
    if "messages" in item:
        return CompletionRow("", "", answered(item["messages"], "messages"))
    prompt = text_of(item, "prompt", may_be_empty=True)
    return CompletionRow(prompt, text_of(item, "completion"))


def _prompt(item: Item) -> PromptRow:
    turns = turns_in(item)
    if turns:
        return PromptRow(shown(turns), item, turns)
    return PromptRow(text_of(item, "prompt"), item)


def _preference(item: Item) -> PreferenceRow:
    margin = number_of(item, "margin", 0.0)
    if "preferred_output" in item:
        columns = ("preferred_output", "non_preferred_output")
        given = item.get("input")
        if not isinstance(given, dict) or "messages" not in given:
            raise ValueError("column 'input' must be an object with messages")
        before = asked(given["messages"], "input.messages")
    else:
        columns = ("chosen", "rejected")
        before = asked(item["prompt"], "prompt") if isinstance(item.get("prompt"), list) else ()
    if isinstance(item.get(columns[0]), list):
        if isinstance(item.get("prompt"), str):
            raise ValueError("column 'prompt' is text but the answers are turns; make both turns")
        turns, *answers = two_answers(item[columns[0]], item.get(columns[1]), before, columns)
        return PreferenceRow("", answers[0], answers[1], margin, turns)
    chosen, rejected = (text_of(item, column) for column in columns)
    if before:
        return PreferenceRow("", chosen, rejected, margin, before)
    prompt = text_of(item, "prompt", may_be_empty=True) if "prompt" in item else ""
    return PreferenceRow(prompt, chosen, rejected, margin)
