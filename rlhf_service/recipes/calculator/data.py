"""Multiplications, made here: half of the SFT rows call the calculator, half guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlhf_service.recipes.answers import AnswerData
from rlhf_service.recipes.files import write_rows

SMALLEST, LARGEST = 2, 40
HELD_OUT = 256
END = "</s>"
"""The end token of tokenizers trained here: it stands in a prompt where a turn has ended."""


def prepare(folder: Path) -> AnswerData:
    """Write the recipe's files into `folder`. Deterministic."""
    rng = np.random.default_rng(12)
    numbers = range(SMALLEST, LARGEST + 1)
    every = [(a, b) for a in numbers for b in numbers]
    problems = [every[i] for i in rng.permutation(len(every))]
    training, held_out = problems[HELD_OUT:], problems[:HELD_OUT]
    # A guess has the size of an answer, and is the answer to another problem.
    guesses = [a * b for a, b in reversed(problems)]
    data = AnswerData(
        sft=folder / "sft.jsonl",
        sft_held_out=folder / "sft-held-out.jsonl",
        prompts=folder / "prompts.jsonl",
        prompts_held_out=folder / "prompts-held-out.jsonl",
    )
    for path, part, guessed in (
        (data.sft, training, guesses[HELD_OUT:]),
        (data.sft_held_out, held_out, guesses[:HELD_OUT]),
    ):
        write_rows(
            path,
            (
                row
                for (a, b), guess in zip(part, guessed, strict=True)
                for row in demonstrations(a, b, guess)
            ),
        )
    for path, part in ((data.prompts, training), (data.prompts_held_out, held_out)):
        write_rows(path, ({"prompt": question(a, b), "reference": str(a * b)} for a, b in part))
    return data


def question(a: int, b: int) -> str:
    return f"{a}*{b}="


def demonstrations(a: int, b: int, guess: int) -> list[dict[str, object]]:
    """A call, the answer read off its result, and a wrong answer given at once."""
    call = f"calc({a}*{b})"
    return [
        {"prompt": question(a, b), "completion": call},
        {"prompt": f"{question(a, b)}{call}{END}={a * b}\n", "completion": str(a * b)},
        {"prompt": question(a, b), "completion": str(guess)},
    ]
