"""What a judge is asked to answer with, and how its answer is read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Protocol

from rlhf_service.reward.remote.answers import number
from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.spec.judges import LabelModelReward, ModelJudge, ScoreModelReward

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Question(Protocol):
    """The form of an answer."""

    @property
    def instruction(self) -> str:
        """Told to the judge after the user's own messages."""
        ...

    def schema(self) -> dict[str, Any]:
        """The answer as structured output."""
        ...

    def read(self, content: str) -> float:
        """The score in an answer. Raises RemoteFault."""
        ...


@dataclass(frozen=True, slots=True)
class NumberQuestion:
    """A number within bounds."""

    low: float
    high: float

    @property
    def instruction(self) -> str:
        return (
            f'Answer with JSON only: {{"score": x}}, x a number from {self.low:g} to {self.high:g}.'
        )

    def schema(self) -> dict[str, Any]:
        # Bounds are checked in `read`: not every endpoint knows them.
        return strict_schema("score", {"type": "number"})

    def read(self, content: str) -> float:
        return score_in(content, self.low, self.high)


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """One of some labels; those that pass earn 1."""

    labels: tuple[str, ...]
    passing: frozenset[str]

    @property
    def instruction(self) -> str:
        known = ", ".join(json.dumps(label, ensure_ascii=False) for label in self.labels)
        return f'Answer with JSON only: {{"label": x}}, x one of {known}.'

    def schema(self) -> dict[str, Any]:
        return strict_schema("label", {"type": "string", "enum": list(self.labels)})

    def read(self, content: str) -> float:
        return float(label_in(content, self.labels) in self.passing)


def question_of(spec: ModelJudge) -> Question:
    """What `spec` wants to know."""
    match spec:
        case ScoreModelReward():
            return NumberQuestion(*spec.range)
        case LabelModelReward():
            return LabelQuestion(spec.labels, frozenset(spec.passing_labels))


def strict_schema(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """An object with the one property `name`."""
    return {
        "name": name,
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {name: value},
            "required": [name],
            "additionalProperties": False,
        },
    }


def unfenced(content: str) -> tuple[str, object]:
    """(text without a code fence, its JSON value or None)."""
    text = content.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    return text, said


def score_in(content: str, low: float, high: float) -> float:
    """The score of an answer: {"score": x}, or text with exactly one number. Raises RemoteFault."""
    text, said = unfenced(content)
    if isinstance(said, dict):
        value = number(said.get("score"), "the judge's score")
    elif isinstance(said, int | float) and not isinstance(said, bool):
        value = number(said, "the judge's score")
    else:
        found = NUMBER.findall(text)
        if len(found) != 1:
            quoted = " ".join(text.split())[:100]
            raise RemoteFault("bad_answer", f"no single number in the judge's answer: {quoted}")
        value = number(float(found[0]), "the judge's score")
    if not low <= value <= high:
        raise RemoteFault("bad_answer", f"the judge's score {value:g} is not in {low:g} … {high:g}")
    return value


def label_in(content: str, labels: tuple[str, ...]) -> str:
    """The label of an answer: {"label": x}, or text that is one of them. Raises RemoteFault."""
    text, said = unfenced(content)
    chosen = said.get("label") if isinstance(said, dict) else text
    if isinstance(said, str):
        chosen = said
    if not isinstance(chosen, str) or chosen.strip() not in labels:
        quoted = " ".join(text.split())[:100]
        raise RemoteFault("bad_answer", f"the judge's answer is none of the labels: {quoted}")
    return chosen.strip()
