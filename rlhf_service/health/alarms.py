"""The alarms: what each measures in a step's report, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlhf_service.reports import PpoReport
from rlhf_service.spec.health import HealthSpec
from rlhf_service.spec.stages import PpoStage


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that goes wrong in policy-gradient training."""

    name: str
    """The threshold's field in HealthSpec."""
    measure: Callable[[PpoReport, PpoReport, PpoStage], float | None]
    """(this step, the stage's first, the stage) → the figure; None where it has no meaning."""
    above: bool
    """True when figures above the threshold are bad, False when those below are."""
    advice: str
    """What it means and what to try."""

    def threshold(self, spec: HealthSpec) -> float | None:
        value = getattr(spec, self.name)
        return None if value is None else float(value)

    def beyond(self, value: float, threshold: float) -> bool:
        return value > threshold if self.above else value < threshold


def kl_per_token(now: PpoReport, first: PpoReport, stage: PpoStage) -> float:
    return now.kl / max(now.response_length_mean, 1.0)


def entropy_share(now: PpoReport, first: PpoReport, stage: PpoStage) -> float | None:
    return now.entropy / first.entropy if first.entropy > 0 else None


def explained_variance(now: PpoReport, first: PpoReport, stage: PpoStage) -> float | None:
    # A version counts from 1, so the first step after the warm-up has version warm-up + 1.
    warm = now.policy_version > stage.ppo.critic_warmup_steps
    return now.explained_variance if stage.ppo.has_critic and warm else None


def equal_groups(now: PpoReport, first: PpoReport, stage: PpoStage) -> float | None:
    return now.equal_groups_fraction if stage.samples_per_prompt > 1 else None


def sampler_difference(now: PpoReport, first: PpoReport, stage: PpoStage) -> float | None:
    # Of older weights it says how far the policy has moved, not that two programs disagree.
    return now.sampler_difference_mean if now.staleness_max == 0 else None


def disagreement_growth(now: PpoReport, first: PpoReport, stage: PpoStage) -> float | None:
    growth = [
        value / first.components[name]
        for name, value in now.components.items()
        if name.endswith("_disagreement") and first.components.get(name, 0) > 0
    ]
    return max(growth, default=None)


ALARMS = (
    Alarm(
        "kl_per_token",
        kl_per_token,
        True,
        "the policy runs away from the reference: raise ppo.kl.coef or lower the learning rate",
    ),
    Alarm(
        "entropy_share",
        entropy_share,
        False,
        "exploration has collapsed: raise ppo.entropy_coef or ppo.kl.coef, or stop earlier",
    ),
    Alarm(
        "truncated",
        lambda now, first, stage: now.truncated_fraction,
        True,
        "most responses hit the length limit: raise sampling.max_new_tokens, or set "
        "ppo.truncation_penalty or ppo.overlong",
    ),
    Alarm(
        "repetition",
        lambda now, first, stage: now.repetition,
        True,
        "responses repeat themselves: add a `repetition` reward or raise ppo.kl.coef",
    ),
    Alarm(
        "length_correlation",
        lambda now, first, stage: now.length_correlation,
        True,
        "the reward pays for length: blend it with a `length` reward or set ppo.overlong",
    ),
    Alarm(
        "explained_variance",
        explained_variance,
        False,
        "the critic predicts worse than a constant: lower critic_optimizer.learning_rate or set "
        "ppo.critic_warmup_steps",
    ),
    Alarm(
        "equal_groups",
        equal_groups,
        True,
        "hardly any prompt tells its responses apart: use dynamic_sampling, more samples_per_prompt "
        "or a finer reward",
    ),
    Alarm(
        "sampler_difference",
        sampler_difference,
        True,
        "sampler and trainer compute different probabilities: use precision fp32 or lower "
        "ppo.importance_cap",
    ),
    Alarm(
        "disagreement_growth",
        disagreement_growth,
        True,
        "the reward models no longer agree on what the policy writes: combine them by minimum or "
        "raise ppo.kl.coef",
    ),
)
