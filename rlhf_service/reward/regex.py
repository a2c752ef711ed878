"""Number of matches of a pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.spec.reward import RegexReward


@dataclass(frozen=True, slots=True)
class Regex:
    """Scores by RegexReward."""

    spec: RegexReward

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        pattern = re.compile(self.spec.pattern)
        found = [float(min(self.spec.most, len(pattern.findall(r.text)))) for r in rollouts]
        return [Score(value=value, components={self.spec.name: value}) for value in found]
