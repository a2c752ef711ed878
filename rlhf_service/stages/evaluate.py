"""Held-out score of a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_service.errors import RewardFailed
from rlhf_service.events import EvaluationCompleted, Sample
from rlhf_service.prompts import PromptSource
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.step import PpoRun

EVALUATION_SEED_OFFSET = 1_000_003
"""Keeps evaluation draws apart from training draws, and the same before and after."""

SHOWN = 8
"""Samples kept with an evaluation or a step."""


def evaluate(
    run: PpoRun, prompts: PromptSource, step: int, policy_version: int
) -> EvaluationCompleted:
    """Mean score over held-out prompts with its standard error. Collective.

    Every evaluation of a stage draws with the same seeds, so policies are compared on the same
    prompts and the same random numbers.
    """
    spec = run.stage.evaluation
    assert spec is not None
    count = min(spec.num_prompts, len(prompts.rows))
    mine = range(run.group.rank, count, run.group.size)
    asked = prompts.in_order(list(mine), spec.samples_per_prompt)
    seed = run.seed + EVALUATION_SEED_OFFSET
    rollouts = (
        run.engine.generate(asked, run.stage.sampling, version=policy_version, seed=seed)
        if asked
        else []
    )
    outcomes = run.reward.score(rollouts) if rollouts else []
    drawn = samples_of(rollouts, outcomes)
    scores = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
    everyone: list[tuple[list[float], tuple[Sample, ...]]] = run.group.gather((scores, drawn))
    values = [value for found, _ in everyone for value in found]
    if not values:
        raise RewardFailed("no held-out response could be scored; mend the reward and resume")
    mean, error = mean_and_error(values)
    return EvaluationCompleted(
        stage=run.stage.name,
        step=step,
        mean=mean,
        standard_error=error,
        n=len(values),
        samples=everyone[0][1],
    )


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard error of the mean (Bessel-corrected; 0 for a single value)."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def samples_of(rollouts: Sequence[Rollout], outcomes: Sequence[ScoreOutcome]) -> tuple[Sample, ...]:
    """The first few scored rollouts, for people to read."""
    scored = [(r, o) for r, o in zip(rollouts, outcomes, strict=True) if isinstance(o, Score)]
    return tuple(
        Sample(
            prompt=rollout.prompt.text,
            response=rollout.text,
            score=score.value,
            components=dict(score.components),
            truncated=rollout.truncated,
        )
        for rollout, score in scored[:SHOWN]
    )
