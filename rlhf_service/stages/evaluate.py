"""Held-out score of a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from rlhf_service.errors import RewardFailed
from rlhf_service.evaluation.bootstrap import paired_bootstrap
from rlhf_service.events import (
    Difference,
    EvaluationCompared,
    EvaluationCompleted,
    Measured,
    Sample,
)
from rlhf_service.ports import Group
from rlhf_service.prompts import PromptSource
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
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
    sampling = run.stage.sampling.model_copy(update={"greedy": spec.greedy})
    seed = run.seed + EVALUATION_SEED_OFFSET
    rollouts = (
        run.engine.generate(asked, sampling, version=policy_version, seed=seed) if asked else []
    )
    outcomes = run.reward.score(rollouts) if rollouts else []
    found = measure(run.group, "reward", rollouts, outcomes)
    metrics = tuple(
        measure(run.group, name, rollouts, metric.score(rollouts) if rollouts else [])
        for name, metric in run.metrics.items()
    )
    drawn: list[tuple[Sample, ...]] = run.group.gather(samples_of(rollouts, outcomes))
    return EvaluationCompleted(
        stage=run.stage.name,
        step=step,
        mean=found.mean,
        standard_error=found.standard_error,
        n=found.n,
        scores=found.scores,
        metrics=metrics,
        samples=drawn[0],
    )


def measure(
    group: Group, name: str, rollouts: Sequence[Rollout], outcomes: Sequence[ScoreOutcome]
) -> Measured:
    """One figure over all ranks, its scores in the order of the prompts. Collective.

    Raises RewardFailed when no response has a score.
    """
    mine = [
        (rollout.prompt.position, rollout.prompt.sample, value_of(outcome))
        for rollout, outcome in zip(rollouts, outcomes, strict=True)
    ]
    everyone: list[list[tuple[int, int, float | None]]] = group.gather(mine)
    scores = tuple(score for _, _, score in sorted(chain.from_iterable(everyone), key=place))
    values = [score for score in scores if score is not None]
    if not values:  # on every rank, so all of them ask for the others' failures
        failed = group.gather(next((o for o in outcomes if isinstance(o, ScoreFailure)), None))
        first = next(failure for failure in failed if failure is not None)
        raise RewardFailed(
            f"no held-out response could be scored by {name!r}; the first: {first.kind}: "
            f"{first.message}; mend the reward and resume"
        )
    mean, error = mean_and_error(values)
    return Measured(name=name, mean=mean, standard_error=error, n=len(values), scores=scores)


def place(scored: tuple[int, int, float | None]) -> tuple[int, int]:
    return scored[:2]


def value_of(outcome: ScoreOutcome) -> float | None:
    return outcome.value if isinstance(outcome, Score) else None


def compare(
    run: PpoRun, before: EvaluationCompleted, after: EvaluationCompleted
) -> EvaluationCompared:
    """The two policies on the same prompts, figure by figure."""
    spec = run.stage.evaluation
    assert spec is not None
    first, last = (
        {"reward": e.scores} | {m.name: m.scores for m in e.metrics} for e in (before, after)
    )
    differences = []
    for name, scores in first.items():
        found = paired_bootstrap(
            scores, last[name], samples_per_prompt=spec.samples_per_prompt, seed=run.seed
        )
        if found is None:
            continue
        differences.append(
            Difference(
                name=name,
                before=fmean(s for s in scores if s is not None),
                after=fmean(s for s in last[name] if s is not None),
                difference=found.difference,
                low=found.low,
                high=found.high,
                p_value=found.p_value,
                n=found.n,
            )
        )
    return EvaluationCompared(stage=run.stage.name, step=after.step, differences=tuple(differences))


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
            response=rollout.transcript or rollout.text,
            score=score.value,
            components=dict(score.components),
            truncated=rollout.truncated,
        )
        for rollout, score in scored[:SHOWN]
    )
