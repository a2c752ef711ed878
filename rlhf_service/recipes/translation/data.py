"""Tatoeba sentence pairs, split by English sentence.

`tatoeba.tsv.gz` holds 40,000 English–Spanish pairs of at most six and seven words, a seeded draw
from the pairs of tatoeba.org (CC BY 2.0 FR); each line names the sentences' numbers and authors.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from rlhf_service.recipes.files import write_rows

HELD_OUT = 600
"""English sentences kept for evaluation."""

RL_PROMPTS = 6_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation."""

    english: str
    spanish: str


@dataclass(frozen=True, slots=True)
class TranslationData:
    """The recipe's files."""

    sft: Path
    sft_held_out: Path
    prompts: Path
    prompts_held_out: Path


def prepare(folder: Path) -> TranslationData:
    """Write the recipe's files into `folder`. Deterministic."""
    pairs = read_pairs()
    training, held_out = split(pairs)
    data = TranslationData(
        sft=folder / "sft.jsonl",
        sft_held_out=folder / "sft-held-out.jsonl",
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    write_rows(data.sft, completions(training))
    write_rows(data.sft_held_out, completions(held_out))
    write_rows(data.prompts, questions(training)[:RL_PROMPTS])
    write_rows(data.prompts_held_out, questions(held_out))
    return data


def read_pairs() -> list[Pair]:
    """Every shipped pair."""
    packed = files(__package__).joinpath("tatoeba.tsv.gz")
    with packed.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Pair(row["english"], row["spanish"]) for row in rows]


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """(training, held out): no English sentence stands on both sides; both shuffled."""
    rng = np.random.default_rng(2007)
    sentences = sorted({pair.english for pair in pairs})
    chosen = rng.choice(len(sentences), size=HELD_OUT, replace=False)
    held_out = {sentences[i] for i in chosen}
    shuffled = [pairs[i] for i in rng.permutation(len(pairs))]
    return (
        [pair for pair in shuffled if pair.english not in held_out],
        [pair for pair in shuffled if pair.english in held_out],
    )


def completions(pairs: Iterable[Pair]) -> Iterable[dict[str, object]]:
    for pair in pairs:
        yield {"prompt": prompt(pair), "completion": f" {pair.spanish}"}


def questions(pairs: Iterable[Pair]) -> list[dict[str, object]]:
    """One row for each English sentence, with its first translation as reference."""
    first = {pair.english: pair for pair in reversed(list(pairs))}
    return [
        {"prompt": prompt(pair), "reference": pair.spanish} for pair in reversed(first.values())
    ]


def prompt(pair: Pair) -> str:
    return f"{pair.english} ="
