"""Rows as OpenAI's guides write them → rows in this service's columns.

| method | theirs | ours |
|---|---|---|
| supervised | `messages` | `prompt`, `completion`, or `messages` for a model with a chat template |
| dpo | `input.messages`, `preferred_output`, `non_preferred_output` | `prompt`, `chosen`, `rejected` |
| reinforcement | `messages`, further columns | `prompt`, further columns |

Rows that already have our columns are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.openai.graders import text_of
from api.openai.mapping import Dataset
from api.openai.transcript import Transcript, Turn
from rlhf_service.data.rows import MOST_FAULTS
from rlhf_service.data.sources import BadRow, Item, jsonl
from rlhf_service.errors import DataError, SpecError

Row = Mapping[str, object]
TOOLS = ("tools", "functions", "function_call", "tool_calls", "parallel_tool_calls")


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one request's rows are read."""

    method: str
    transcript: Transcript

    def convert(self, source: Path, param: str) -> Dataset:
        """`source` itself when every row has our columns, else a file beside it with rows that do.

        The same rows always make the same file. Raises DataError naming the first bad lines.
        """
        rows: list[Row] = []
        faults: list[str] = []
        changed = False
        for place, item in jsonl(source):
            try:
                found = self.rows_of(item)
            except (ValueError, SpecError) as fault:
                faults.append(f"{place}: {fault}")
                if len(faults) == MOST_FAULTS:
                    break
                continue
            changed |= found != [item]
            rows += found
        if faults:
            raise DataError("; ".join(faults), param)
        if not changed:
            return Dataset(str(source), len(rows))
        if not rows:
            raise DataError("no row has anything to learn; every weight is 0", param)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = source.with_name(f"{source.stem}-{digest}.jsonl")
        if not path.exists():
            partial = path.with_name(f".{path.name}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        return Dataset(str(path), len(rows))

    def rows_of(self, item: Item | BadRow) -> list[Row]:
        """What one line teaches. Raises ValueError."""
        if isinstance(item, BadRow):
            raise item
        for name in TOOLS:
            if item.get(name) and name != "parallel_tool_calls":
                raise ValueError(f"column {name!r}: tool calls are not served")
        match self.method:
            case "supervised":
                return self._supervised(item)
            case "dpo":
                return [self._preference(item)]
        return [self._prompt(item)]

    def _supervised(self, item: Item) -> list[Row]:
        if "messages" not in item:
            return [item]
        turns, weights = turns_of(item["messages"], "messages")
        plain = item["messages"] == turns
        if self.transcript.learns_messages and plain:
            return [item]
        learnt = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"]
        if not learnt:
            raise ValueError("messages has no assistant turn, so there is nothing to learn")
        return [
            {"prompt": self.transcript.prompt(turns[:n]), "completion": turns[n]["content"]}
            for n in learnt
            if weights[n]
        ]

    def _preference(self, item: Item) -> Row:
        if "input" not in item:
            return item
        asked = item["input"]
        if not isinstance(asked, Mapping) or "messages" not in asked:
            raise ValueError("column 'input' must be an object with messages")
        if asked.get("tools"):
            raise ValueError("input.tools: tool calls are not served")
        turns, _ = turns_of(asked["messages"], "input.messages")
        return {
            "prompt": self.transcript.prompt(turns),
            "chosen": answer(item, "preferred_output"),
            "rejected": answer(item, "non_preferred_output"),
        }

    def _prompt(self, item: Item) -> Row:
        if "prompt" in item or "messages" not in item:
            return item
        turns, _ = turns_of(item["messages"], "messages")
        if turns[-1]["role"] == "assistant":
            raise ValueError("messages ends with an assistant turn; the model is to write that one")
        rest = {name: value for name, value in item.items() if name != "messages"}
        return {**rest, "prompt": self.transcript.prompt(turns)}


def turns_of(value: object, column: str) -> tuple[list[Turn], list[bool]]:
    """A conversation with text alone in it, and which turns have weight. Raises ValueError."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"column {column!r} must be a list of {{role, content}} objects")
    turns: list[Turn] = []
    weights: list[bool] = []
    for number, message in enumerate(value):
        at = f"{column}[{number}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"{at} must be an object with role and content")
        if message["role"] in ("tool", "function") or message.get("tool_calls"):
            raise ValueError(f"{at}: tool calls are not served")
        turns.append({"role": message["role"], "content": content_of(message, at)})
        weights.append(message.get("weight", 1) != 0)
    return turns, weights


def content_of(message: Mapping[str, Any], at: str) -> str:
    """A message's text. Raises ValueError or SpecError."""
    content = message.get("content")
    if isinstance(content, list):
        content = text_of(content, f"{at}.content")
    if not isinstance(content, str):
        raise ValueError(f"{at}.content must be a string, not {type(content).__name__}")
    return content


def answer(item: Item, column: str) -> str:
    """The one assistant turn in `column`. Raises ValueError."""
    turns, _ = turns_of(item.get(column), column)
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise ValueError(f"column {column!r} must be one assistant turn")
    if not turns[0]["content"]:
        raise ValueError(f"column {column!r} is empty; drop the row or fill it")
    return turns[0]["content"]
