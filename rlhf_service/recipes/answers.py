"""Prompts with one right answer each, as SFT rows and as prompts with a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlhf_service.recipes.files import write_rows


@dataclass(frozen=True, slots=True)
class Answered:
    """What the policy is asked, and the right answer."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class AnswerData:
    """Paths of the prepared JSON Lines files."""

    sft: Path
    sft_held_out: Path
    prompts: Path
    prompts_held_out: Path


def write_answers(
    folder: Path,
    training: Sequence[Answered],
    held_out: Sequence[Answered],
    *,
    prompts: Sequence[Answered] | None = None,
    prompts_held_out: Sequence[Answered] | None = None,
) -> AnswerData:
    """Write the files into `folder`. Prompts are those of the SFT rows when they are not given."""
    data = AnswerData(
        sft=folder / "sft.jsonl",
        sft_held_out=folder / "sft-held-out.jsonl",
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    for path, rows in ((data.sft, training), (data.sft_held_out, held_out)):
        write_rows(path, ({"prompt": r.prompt, "completion": f" {r.answer}"} for r in rows))
    for path, rows in (
        (data.prompts, training if prompts is None else prompts),
        (data.prompts_held_out, held_out if prompts_held_out is None else prompts_held_out),
    ):
        write_rows(path, ({"prompt": r.prompt, "reference": r.answer} for r in rows))
    return data


def split(
    rows: Sequence[Answered], held_out: int, seed: int
) -> tuple[list[Answered], list[Answered]]:
    """(training, held out): a seeded shuffle, its first `held_out` rows held out."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[held_out:]], [rows[i] for i in order[:held_out]]


def each_once(rows: Sequence[Answered]) -> list[Answered]:
    """One row for each prompt: at its first place, with its last answer."""
    return list({row.prompt: row for row in rows}.values())
