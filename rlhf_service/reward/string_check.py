"""1 when the response stands in a relation to a reference, else 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reward.base import render
from rlhf_service.spec.reward import StringCheckReward

RELATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda response, reference: response == reference,
    "ne": lambda response, reference: response != reference,
    "like": lambda response, reference: reference in response,
    "ilike": lambda response, reference: reference.casefold() in response.casefold(),
}


@dataclass(frozen=True, slots=True)
class StringCheck:
    """Scores by StringCheckReward."""

    spec: StringCheckReward

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        reference = render(self.spec.reference, rollout)
        text = render(self.spec.input, rollout)
        value = float(RELATIONS[self.spec.operation](text, reference))
        return Score(value=value, components={self.spec.name: value})
