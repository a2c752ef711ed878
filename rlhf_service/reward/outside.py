"""Judge → RewardFunction."""

from __future__ import annotations

from rlhf_service.ports import RewardFunction
from rlhf_service.reward.operator import Operator, check_judge
from rlhf_service.reward.remote.http import HttpScorer
from rlhf_service.reward.remote.score_model import ScoreModel
from rlhf_service.reward.sandbox.python import PythonGrader
from rlhf_service.spec.judges import (
    HttpReward,
    Judge,
    LabelModelReward,
    PythonReward,
    ScoreModelReward,
)


def build_judge(spec: Judge, operator: Operator | None = None) -> RewardFunction:
    """Raises SpecError when the operator, here where it runs, does not allow it."""
    operator = operator or Operator.read()
    check_judge(spec, operator)
    match spec:
        case HttpReward():
            return HttpScorer(spec, operator)
        case ScoreModelReward() | LabelModelReward():
            return ScoreModel(spec, operator)
        case PythonReward():
            return PythonGrader(spec, operator)
