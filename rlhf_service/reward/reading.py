"""Scores of the text alone: polarity and repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_service.algorithms.repetition import repeated_share
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reward.base import render
from rlhf_service.spec.graders import RepetitionReward, SentimentReward


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores what a template renders, by a function of the text."""

    name: str
    input: str
    read: Callable[[str], float]

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        values = [self.read(render(self.input, rollout)) for rollout in rollouts]
        return [Score(value=value, components={self.name: value}) for value in values]


def sentiment(spec: SentimentReward) -> Reading:
    """VADER's compound polarity, turned round when negative is wanted."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    sign = 1.0 if spec.target == "positive" else -1.0
    return Reading(
        spec.name, spec.input, lambda text: sign * analyser.polarity_scores(text)["compound"]
    )


def repetition(spec: RepetitionReward) -> Reading:
    return Reading(spec.name, spec.input, lambda text: -repeated_share(text.split(), spec.ngram))
