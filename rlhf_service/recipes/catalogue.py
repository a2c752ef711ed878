"""The recipes by the names that `rlhf run` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_service.recipes.calculator.data import prepare as prepare_calculator
from rlhf_service.recipes.calculator.recipe import calculator_spec
from rlhf_service.recipes.instruct.data import prepare as prepare_instruct
from rlhf_service.recipes.instruct.recipe import instruct_spec
from rlhf_service.recipes.question_answering.data import prepare as prepare_questions
from rlhf_service.recipes.question_answering.recipe import question_answering_spec
from rlhf_service.recipes.reviews.data import prepare as prepare_reviews
from rlhf_service.recipes.reviews.recipe import on_lstm, reviews_spec
from rlhf_service.recipes.summarisation.data import prepare as prepare_summaries
from rlhf_service.recipes.summarisation.recipe import summarisation_spec
from rlhf_service.recipes.translation.data import prepare as prepare_translation
from rlhf_service.recipes.translation.recipe import translation_spec
from rlhf_service.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete job on real data."""

    title: str
    """One line: data and stages."""
    build: Callable[[Path, int], JobSpec]
    """(folder for the data, seed) → the job; writes the data. Raises DataError."""


RECIPES: Mapping[str, Recipe] = {
    "generation": Recipe(
        "movie-review snippets, SFT → reward model → PPO",
        lambda folder, seed: reviews_spec(prepare_reviews(folder), seed),
    ),
    "lstm": Recipe(
        "the same on an LSTM: cross-entropy and Adam, then PPO",
        lambda folder, seed: on_lstm(reviews_spec(prepare_reviews(folder), seed)),
    ),
    "translation": Recipe(
        "English → Spanish sentences of Tatoeba, SFT → GRPO against chrF and BLEU",
        lambda folder, seed: translation_spec(prepare_translation(folder), seed),
    ),
    "summarisation": Recipe(
        "one-sentence summaries of news (XSum), SFT → GRPO against ROUGE-L",
        lambda folder, seed: summarisation_spec(prepare_summaries(folder), seed),
    ),
    "question-answering": Recipe(
        "arithmetic word problems (ASDiv), SFT → GRPO against F1",
        lambda folder, seed: question_answering_spec(prepare_questions(folder), seed),
    ),
    "calculator": Recipe(
        "multiplication with a calculator as a tool, SFT → GRPO against exact answers",
        lambda folder, seed: calculator_spec(prepare_calculator(folder), seed),
    ),
    "instruct": Recipe(
        "SmolLM2-135M-Instruct on English → Spanish, GRPO on a low-rank adapter against chrF",
        lambda folder, seed: instruct_spec(prepare_instruct(folder), seed),
    ),
}
