"""What a job's events say in the OpenAI client's list."""

from __future__ import annotations

import pytest

from api.openai.views import sentence
from rlhf_service.events import (
    AlarmCleared,
    Difference,
    EvaluationCompared,
    JobStopped,
    MemoryMeasured,
    PreflightCompleted,
)
from rlhf_service.job import StopReason
from tests.stored import stored

TRIED = PreflightCompleted(
    stage="ppo",
    n=8,
    mean=0.25,
    standard_deviation=0.5,
    quartiles=(),
    failures={},
    equal_groups=None,
    scores_per_second=1.0,
    trivial={},
)
RISE = Difference(
    name="reward", before=0.0, after=0.5, difference=0.5, low=0.4, high=0.6, p_value=0.0002, n=64
)


@pytest.mark.parametrize(
    "event, level, says",
    [
        (
            MemoryMeasured(role="learner", process=1, peak=3 * 2**20),
            "info",
            "learner 1 held at most 3 MiB of memory",
        ),
        (AlarmCleared(stage="ppo", step=3, alarm="truncated"), "info", "Alarm truncated is over"),
        (TRIED, "info", "Reward tried on 8 responses before training: mean 0.25"),
        (
            TRIED.model_copy(update={"warnings": ("it pays for nothing",)}),
            "warn",
            "Reward tried on 8 responses before training: mean 0.25; it pays for nothing",
        ),
        (
            TRIED.model_copy(update={"mean": None}),
            "warn",
            "Reward tried before training: none of 8 responses could be scored",
        ),
        (
            EvaluationCompared(stage="ppo", step=9, differences=(RISE,)),
            "info",
            "After training against before: reward +0.5 (p 0.0002)",
        ),
        (
            JobStopped(reason=StopReason.UNHEALTHY_PAUSED, message="KL"),
            "info",
            "The attempt ended: KL",
        ),
        (
            JobStopped(reason=StopReason.REWARD_FAILED, message="x"),
            "error",
            "The attempt ended: x",
        ),
    ],
)
def test_an_event_says_what_happened(event, level, says):
    assert sentence(stored(event)) == (level, says)
