"""Several reward models as one, with their disagreement (arXiv 2310.02743)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.spec.reward import EnsembleReward


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Scores by EnsembleReward. A response has a score only when every member gives one."""

    spec: EnsembleReward
    members: tuple[RewardFunction, ...]

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        scored = [member.score(rollouts) for member in self.members]
        return [self._join(outcomes) for outcomes in zip(*scored, strict=True)]

    def _join(self, outcomes: Sequence[ScoreOutcome]) -> ScoreOutcome:
        values: list[float] = []
        for outcome in outcomes:
            if isinstance(outcome, ScoreFailure):
                return outcome
            values.append(outcome.value)
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        value = {
            "mean": mean,
            "minimum": min(values),
            "mean_minus_std": mean - self.spec.k * spread,
        }[self.spec.combine]
        name = self.spec.name
        return Score(value=value, components={name: value, f"{name}_disagreement": spread})
