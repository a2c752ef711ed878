"""Weighted sum of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome


@dataclass(frozen=True, slots=True)
class Blend:
    """A response has a score only when every part has one; parts keep their names."""

    parts: tuple[RewardFunction, ...]
    weights: tuple[float, ...]

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        scored = [part.score(rollouts) for part in self.parts]
        return [self._sum(list(outcomes)) for outcomes in zip(*scored, strict=True)]

    def _sum(self, outcomes: list[ScoreOutcome]) -> ScoreOutcome:
        value = 0.0
        components: dict[str, float] = {}
        for weight, outcome in zip(self.weights, outcomes, strict=True):
            if isinstance(outcome, ScoreFailure):
                return outcome
            value += weight * outcome.value
            components |= outcome.components
        return Score(value=value, components=components)
