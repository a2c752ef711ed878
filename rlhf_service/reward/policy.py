"""A failure is no score: retried, punished, set aside or fatal, by its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_service.errors import RewardFailed
from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.spec.failure import (
    FailJob,
    FailureAction,
    FailurePolicySpec,
    PenaltyFailure,
    RetryFailure,
)

FAILED = "failed"
"""Component that marks a score given for a failure."""


@dataclass(frozen=True, slots=True)
class Policed:
    """A reward whose failures are dealt with as the spec says."""

    inner: RewardFunction
    spec: FailurePolicySpec
    sleep: Callable[[float], None] = time.sleep

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        """Raises RewardFailed at a failure of a kind that is to end the job."""
        outcomes = list(self.inner.score(rollouts))
        tried = 0
        while again := [i for i, outcome in enumerate(outcomes) if self._retries(outcome) > tried]:
            action = max(
                (a for i in again if isinstance(a := self._action(outcomes[i]), RetryFailure)),
                key=lambda a: a.pause,
            )
            self.sleep(action.pause * 2**tried)
            tried += 1
            for index, outcome in zip(
                again, self.inner.score([rollouts[i] for i in again]), strict=True
            ):
                outcomes[index] = outcome
        return [self._settled(outcome) for outcome in outcomes]

    def _action(self, outcome: ScoreOutcome) -> FailureAction | None:
        if not isinstance(outcome, ScoreFailure):
            return None
        return self.spec.kinds.get(outcome.kind, self.spec.default)

    def _retries(self, outcome: ScoreOutcome) -> int:
        action = self._action(outcome)
        return action.times if isinstance(action, RetryFailure) else 0

    def _settled(self, outcome: ScoreOutcome) -> ScoreOutcome:
        action = self._action(outcome)
        if isinstance(outcome, ScoreFailure) and isinstance(action, FailJob):
            raise RewardFailed(
                f"a response could not be scored: {outcome.kind}: {outcome.message}; "
                "on_failure says that this ends the job"
            )
        if isinstance(action, PenaltyFailure):
            return Score(value=action.score, components={FAILED: 1.0})
        return outcome
