"""Nearness of the response's length to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.spec.reward import LengthReward


@dataclass(frozen=True, slots=True)
class Length:
    """Scores by LengthReward."""

    spec: LengthReward

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        miss = abs(len(rollout.token_ids) - self.spec.target) / self.spec.target
        value = max(0.0, 1.0 - miss)
        return Score(value=value, components={self.spec.name: value})
