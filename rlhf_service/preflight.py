"""Is the reward fit to be maximised? What it pays for samples, and for answers that say nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, quantiles, stdev

from rlhf_service.drawing import Answered, teaches
from rlhf_service.events import PreflightCompleted
from rlhf_service.ports import RewardFunction
from rlhf_service.records import FinishReason, Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.spec.reward import RewardSpec, columns_in

FAILURES = 0.01
"""Share of failed scores that is worth a warning."""

EQUAL_GROUPS = 0.8
"""Share of prompts whose responses all score the same that is worth a warning."""

REPEATS = 12

REFERENCES = ("reference", "completion")
"""Columns that hold right answers, whatever the reward reads."""

Encode = Callable[[str], tuple[int, ...]]
"""Text → the policy's tokens, end token included."""


def preflight(
    stage: str,
    sampled: Sequence[Rollout],
    reward: RewardFunction,
    columns: Sequence[str],
    encode: Encode,
) -> PreflightCompleted:
    """Score `sampled`, and trivial answers to the same prompts.

    `columns` of the data rows hold references: the longest of them and another row's are answers
    that a good reward tells from the right one.
    """
    started = time.perf_counter()
    outcomes = reward.score(sampled)
    seconds = time.perf_counter() - started
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
    asked = list({rollout.prompt.position: rollout for rollout in sampled}.values())
    trivial = {
        name: mean_score(reward.score([answered(r, text(r), encode) for r in asked]))
        for name, text in trivial_answers(asked, columns).items()
    }
    failed = [outcome for outcome in outcomes if isinstance(outcome, ScoreFailure)]
    equal = equal_share(sampled, outcomes)
    found = PreflightCompleted(
        stage=stage,
        n=len(outcomes),
        mean=fmean(values) if values else None,
        standard_deviation=stdev(values) if len(values) > 1 else None,
        quartiles=tuple(quantiles(values, n=4)) if len(values) > 1 else (),
        failures=dict(Counter(failure.kind for failure in failed)),
        equal_groups=equal,
        scores_per_second=len(outcomes) / max(seconds, 1e-9),
        trivial=trivial,
    )
    return found.model_copy(update={"warnings": tuple(warnings_of(found, failed[:1]))})


def reference_columns(reward: RewardSpec) -> list[str]:
    """Columns that may hold right answers: those the reward reads, then the usual ones."""
    return [*(column for _, column in columns_in(reward, "")), *REFERENCES]


def trivial_answers(
    asked: Sequence[Rollout], columns: Sequence[str]
) -> Mapping[str, Callable[[Rollout], str]]:
    """Name → what it answers to a prompt."""
    found: dict[str, Callable[[Rollout], str]] = {
        "empty": lambda rollout: "",
        "the prompt back": lambda rollout: rollout.prompt.text,
        "one word repeated": lambda rollout: " ".join(["the"] * REPEATS),
    }
    references = [reference(rollout, columns) for rollout in asked]
    known = [text for text in references if text]
    if known:
        longest = max(known, key=len)
        found["the longest reference"] = lambda rollout: longest
    if len(set(known)) > 1:
        places = {rollout.prompt.position: index for index, rollout in enumerate(asked)}

        def other(rollout: Rollout) -> str:
            index = places[rollout.prompt.position]
            own = references[index]
            turned = references[index + 1 :] + references[: index + 1]
            return next((text for text in turned if text and text != own), "")

        found["another row's reference"] = other
    return found


def reference(rollout: Rollout, columns: Sequence[str]) -> str:
    """The first reference of the prompt's row; empty without one."""
    for column in columns:
        value = rollout.prompt.item.get(column)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return ""


def answered(rollout: Rollout, text: str, encode: Encode) -> Rollout:
    """`rollout` as if the policy had said `text`."""
    ids = encode(text)
    return replace(
        rollout,
        text=text,
        token_ids=ids,
        logprobs=(0.0,) * len(ids),
        finish_reason=FinishReason.EOS,
        action_mask=(),
        transcript="",
    )


def mean_score(outcomes: Sequence[ScoreOutcome]) -> float | None:
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
    return fmean(values) if values else None


def equal_share(rollouts: Sequence[Rollout], outcomes: Sequence[ScoreOutcome]) -> float | None:
    """Share of prompts with several scored responses whose scores are all the same."""
    groups: dict[int, Answered] = {}
    for rollout, outcome in zip(rollouts, outcomes, strict=True):
        if isinstance(outcome, Score):
            groups.setdefault(rollout.prompt.position, []).append((rollout, outcome))
    several = [group for group in groups.values() if len(group) > 1]
    return fmean(not teaches(group) for group in several) if several else None


def warnings_of(found: PreflightCompleted, first: Sequence[ScoreFailure] = ()) -> list[str]:
    """What speaks against training on this reward, of whose failures `first` is one."""
    said = []
    failed = sum(found.failures.values())
    if failed > FAILURES * found.n:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.failures.items()))
        why = "".join(f"; the first: {failure.message}" for failure in first)
        said.append(f"{failed} of {found.n} responses could not be scored ({kinds}){why}")
    if found.mean is None or found.standard_deviation is None:
        return said
    if found.standard_deviation == 0:
        said.append(f"every response scores {found.mean:g}: there is nothing to learn from")
        return said
    for name, value in found.trivial.items():
        if value is not None and value > found.mean + found.standard_deviation:
            said.append(
                f"the answer '{name}' scores {value:.3g}, sampled responses {found.mean:.3g} ± "
                f"{found.standard_deviation:.2g}: the policy can learn to say just that"
            )
    if found.equal_groups is not None and found.equal_groups > EQUAL_GROUPS:
        said.append(
            f"{found.equal_groups:.0%} of the prompts have responses that all score the same; use "
            "more samples_per_prompt, dynamic_sampling or a finer reward"
        )
    return said
