"""Conversations as users write them: lists of turns. Import-light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.data.cells import text_of
from rlhf_service.data.sources import Item


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str
    learnt: bool = True
    """Whether an assistant's turn is a target of SFT: not one of OpenAI's with weight 0."""


Conversation = tuple[Message, ...]


def conversation(value: object, column: str) -> Conversation:
    """Turns of a list of {role, content} objects. Raises ValueError."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"column {column!r} must be a list of {{role, content}} objects")
    return tuple(_turn(turn, f"{column}[{index}]") for index, turn in enumerate(value))


def answered(value: object, column: str) -> Conversation:
    """A conversation with something to learn. Raises ValueError."""
    turns = conversation(value, column)
    if not any(turn.role == "assistant" and turn.learnt for turn in turns):
        raise ValueError(f"{column} has no assistant turn, so there is nothing to learn")
    return turns


def asked(value: object, column: str) -> Conversation:
    """A conversation whose next turn is the assistant's. Raises ValueError."""
    turns = conversation(value, column)
    if turns[-1].role == "assistant":
        raise ValueError(
            f"{column} ends with the assistant's turn, which is the policy's to write; drop that turn"
        )
    return turns


def turns_in(item: Item) -> Conversation:
    """The conversation that a prompt row holds; none when its prompt is text. Raises ValueError."""
    if "messages" in item:
        return asked(item["messages"], "messages")
    if isinstance(item.get("prompt"), list):
        return asked(item["prompt"], "prompt")
    return ()


def two_answers(
    chosen: object, rejected: object, before: Conversation, columns: tuple[str, str]
) -> tuple[Conversation, str, str]:
    """(what was asked, chosen answer, rejected answer) of two lists of turns. Raises ValueError.

    Each is one assistant turn, or the whole conversation with that turn at its end.
    """
    ours, theirs = conversation(chosen, columns[0]), conversation(rejected, columns[1])
    for turns, column in ((ours, columns[0]), (theirs, columns[1])):
        if turns[-1].role != "assistant":
            raise ValueError(f"{column} does not end with an assistant turn, which is the answer")
    if before and len(ours) + len(theirs) > 2:
        raise ValueError(f"{columns[0]} and {columns[1]} must be one assistant turn each")
    if ours[:-1] != theirs[:-1]:
        raise ValueError(
            f"{columns[0]} and {columns[1]} differ before their last turn; only the answers may"
        )
    context = before or ours[:-1]
    if not context:
        raise ValueError(f"{columns[0]} has only the answer; add the turns before it")
    if context[-1].role == "assistant":
        raise ValueError(f"{columns[0]} ends with two assistant turns; join them into one")
    return context, ours[-1].content, theirs[-1].content


def shown(turns: Sequence[Message]) -> str:
    """Turns as a reader sees them; a lone user turn is its text."""
    if [turn.role for turn in turns] == ["user"]:
        return turns[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def _turn(value: object, place: str) -> Message:
    if not isinstance(value, dict):
        raise ValueError(f"{place} must be an object with role and content")
    role = text_of(value, "role")
    weight = value.get("weight", 1)
    if weight not in (0, 1):
        raise ValueError(f"{place}.weight must be 0 or 1")
    return Message(role, _content(value, place), learnt=weight == 1)


def _content(turn: Item, place: str) -> str:
    """A string, or the text parts that the OpenAI API writes."""
    content = turn.get("content")
    if not isinstance(content, list):
        if content is None and turn.get("tool_calls"):
            raise ValueError(f"{place} calls tools, which training does not know; give it content")
        return text_of(turn, "content", may_be_empty=True)
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise ValueError(f"{place}.content may hold text parts only")
        parts.append(text_of(part, "text", may_be_empty=True))
    return "".join(parts)
