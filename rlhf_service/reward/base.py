"""What every reward shares: outcomes instead of exceptions, and templates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome

ITEM = re.compile(r"\{\{\s*item\.([^{}]+?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A reward whose exceptions and non-finite values become failures of the rollouts concerned."""

    inner: RewardFunction

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        try:
            outcomes = self.inner.score(rollouts)
        except Exception as fault:
            if len(rollouts) == 1:
                return [ScoreFailure(kind="raised", message=f"{type(fault).__name__}: {fault}")]
            return [outcome for rollout in rollouts for outcome in self.score([rollout])]
        return [finite(outcome) for outcome in outcomes]


def finite(outcome: ScoreOutcome) -> ScoreOutcome:
    """The outcome, or a failure when its score is NaN or infinite."""
    if isinstance(outcome, Score) and not math.isfinite(outcome.value):
        return ScoreFailure(kind="not_finite", message=f"the reward gave {outcome.value}")
    return outcome


def fill(template: str, item: Mapping[str, object]) -> str:
    """`template` with each `{{item.column}}` replaced.

    Raises LookupError naming a column that the row lacks or that is null there.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in item:
            raise LookupError(f"the data row has no column {match[1]!r}; it has {sorted(item)}")
        if item[match[1]] is None:
            raise LookupError(
                f"column {match[1]!r} of the data row is null; fill it or drop the row"
            )
        return str(item[match[1]])

    return ITEM.sub(value, template)
