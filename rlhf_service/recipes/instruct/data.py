"""The translation recipe's sentences, asked as a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlhf_service.recipes.answers import Answered
from rlhf_service.recipes.files import write_rows
from rlhf_service.recipes.instruct.model import prepare_model
from rlhf_service.recipes.translation.data import first_translations, read_pairs, split

REQUEST = "Translate into Spanish. Answer with the translation only."
RL_PROMPTS = 2_000
HELD_OUT = 160


@dataclass(frozen=True, slots=True)
class InstructData:
    """Paths of the prepared model folder and JSON Lines files."""

    model: Path
    prompts: Path
    prompts_held_out: Path


def prepare(folder: Path) -> InstructData:
    """Write model and prompts into `folder`. Raises DataError."""
    training, held_out = (first_translations(pairs) for pairs in split(read_pairs()))
    data = InstructData(
        model=prepare_model(folder / "model"),
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    write_rows(data.prompts, map(row, training[:RL_PROMPTS]))
    write_rows(data.prompts_held_out, map(row, held_out[:HELD_OUT]))
    return data


def row(pair: Answered) -> dict[str, object]:
    """One request and its right answer."""
    english = pair.prompt.removesuffix(" =")
    turns = [{"role": "system", "content": REQUEST}, {"role": "user", "content": english}]
    return {"messages": turns, "english": english, "reference": pair.answer}
