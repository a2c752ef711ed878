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

from rlhf_service.recipes.answers import AnswerData, Answered, write_answers

HELD_OUT = 600
"""English sentences kept for evaluation."""

RL_PROMPTS = 6_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation."""

    english: str
    spanish: str


def prepare(folder: Path) -> AnswerData:
    """Write the recipe's files into `folder`. Deterministic."""
    training, held_out = split(read_pairs())
    return write_answers(
        folder,
        [answered(pair) for pair in training],
        [answered(pair) for pair in held_out],
        prompts=first_translations(training)[:RL_PROMPTS],
        prompts_held_out=first_translations(held_out),
    )


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


def first_translations(pairs: Iterable[Pair]) -> list[Answered]:
    """One row for each English sentence, with its first translation."""
    first = {pair.english: pair for pair in reversed(list(pairs))}
    return [answered(pair) for pair in reversed(first.values())]


def answered(pair: Pair) -> Answered:
    return Answered(f"{pair.english} =", pair.spanish)
