"""Judge → RewardFunction."""

from __future__ import annotations

from rlhf_service.ports import RewardFunction
from rlhf_service.reward.operator import Operator, check_judge
from rlhf_service.reward.remote.http import HttpScorer
from rlhf_service.spec.judges import HttpReward, Judge


def build_judge(spec: Judge, operator: Operator | None = None) -> RewardFunction:
    """Raises SpecError when the operator, here where it runs, does not allow it."""
    operator = operator or Operator.read()
    check_judge(spec, operator)
    match spec:
        case HttpReward():
            return HttpScorer(spec, operator)
        case _:
            raise NotImplementedError
