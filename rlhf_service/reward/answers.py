"""Answers compared as SQuAD's official evaluation does (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reward.base import column_of, render
from rlhf_service.spec.graders import ExactMatchReward, TokenF1Reward

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores a response by its nearest right answer."""

    spec: ExactMatchReward | TokenF1Reward
    compare: Callable[[str, str], float]

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        text = render(self.spec.input, rollout)
        value = max(self.compare(text, right) for right in self._right(rollout))
        return Score(value=value, components={self.spec.name: value})

    def _right(self, rollout: Rollout) -> list[str]:
        found = rollout.prompt.item.get(self.spec.answers)
        if not isinstance(found, list):
            return [column_of(rollout.prompt.item, self.spec.answers)]
        if not found:
            raise LookupError(f"column {self.spec.answers!r} of the data row is an empty list")
        return [str(right) for right in found]


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and surplus spaces."""
    bare = text.lower().translate(PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def exact_match(text: str, right: str) -> float:
    return float(normalise(text) == normalise(right))


def token_f1(text: str, right: str) -> float:
    """Harmonic mean of the precision and recall of words. 1 when both are empty."""
    words, wanted = normalise(text).split(), normalise(right).split()
    if not words or not wanted:
        return float(words == wanted)
    shared = (Counter(words) & Counter(wanted)).total()
    return 2 * shared / (len(words) + len(wanted))
