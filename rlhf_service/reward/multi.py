"""Several graders joined by a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf_service.formula import Formula
from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome


@dataclass(frozen=True, slots=True)
class Multi:
    """Scores by MultiReward. A response has a score only when every part has one."""

    name: str
    parts: Mapping[str, RewardFunction]
    """Each part names its components after itself."""
    formula: Formula

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        scored = [part.score(rollouts) for part in self.parts.values()]
        return [self._join(outcomes) for outcomes in zip(*scored, strict=True)]

    def _join(self, outcomes: Sequence[ScoreOutcome]) -> ScoreOutcome:
        values: dict[str, float] = {}
        components: dict[str, float] = {}
        for name, outcome in zip(self.parts, outcomes, strict=True):
            if isinstance(outcome, ScoreFailure):
                return outcome
            values[name] = outcome.value
            components |= outcome.components
        try:
            value = self.formula.value(values)
        except (ArithmeticError, ValueError) as fault:
            message = f"calculate_output has no value at {values}: {fault}"
            return ScoreFailure(kind="not_finite", message=message)
        return Score(value=value, components=components)
