"""What every reward shares: outcomes instead of exceptions, and templates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf_service.ports import RewardFunction
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.template import fill, item_column


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


def render(template: str, rollout: Rollout) -> str:
    """`template` with `{{sample.output_text}}` and each `{{item.column}}` replaced.

    The names are those of the OpenAI fine-tuning API's graders. Raises LookupError naming a column
    that the row lacks or that is null there, or a name that is neither.
    """

    def value(name: str) -> str:
        if name == "sample.output_text":
            return rollout.text
        column = item_column(name)
        if column is None:
            raise LookupError(
                f"{{{{{name}}}}} is neither {{{{sample.output_text}}}} nor {{{{item.<column>}}}}"
            )
        return column_of(rollout.prompt.item, column)

    return fill(template, value)


def column_of(item: Mapping[str, object], column: str) -> str:
    """A column of the prompt's row as text. Raises LookupError."""
    if column not in item:
        raise LookupError(f"the data row has no column {column!r}; it has {sorted(item)}")
    if item[column] is None:
        raise LookupError(f"column {column!r} of the data row is null; fill it or drop the row")
    return str(item[column])
