"""Figures of a PPO step over all ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rlhf_service.algorithms.advantages import ExplainedVariance
from rlhf_service.algorithms.kl import kl_estimate
from rlhf_service.algorithms.masking import Moments
from rlhf_service.algorithms.repetition import repeated_share
from rlhf_service.algorithms.rewards import discounted_return
from rlhf_service.batch import ExperienceBatch, Recall, UpdateStats
from rlhf_service.credit import Assigned, global_moments
from rlhf_service.drawing import Draw
from rlhf_service.ports import Group
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reports import AheadSeconds, PhaseSeconds, PpoReport
from rlhf_service.spec.ppo import PpoSpec
from rlhf_service.throughput import Speed


@dataclass(frozen=True, slots=True)
class Outline:
    """A batch in figures, over all ranks."""

    scores: Moments
    score_min: float
    score_max: float
    components: Mapping[str, float]
    quarantined: int
    returns: Moments
    kl: Moments
    """k1 summed over each response."""
    kl_k3: Moments
    entropy: Moments
    lengths: Moments
    longest: int
    truncated: Moments
    advantages: Moments
    explained_variance: float
    sampler_difference: Moments
    sampler_difference_max: float
    weight_max: float
    equal_groups: float
    length_correlation: float
    repetition: Moments
    passed_over: int
    temperature: float
    staleness: Moments
    """Versions between sampling and learning."""
    staleness_max: int
    ahead: AheadSeconds

    @classmethod
    def of(
        cls,
        batch: ExperienceBatch,
        recall: Recall,
        assigned: Assigned,
        drawn: Draw,
        ppo: PpoSpec,
        policy_version: int,
        group: Group,
    ) -> Outline:
        """`policy_version` is the one that is about to learn. Collective."""
        mask, scored = batch.response_mask, batch.scored
        k1 = kl_estimate(recall.old_logprobs, recall.ref_logprobs, "k1") * mask
        k3 = kl_estimate(recall.old_logprobs, recall.ref_logprobs, "k3") * mask
        difference = (recall.old_logprobs - batch.sampler_logprobs).abs() * mask
        returns = discounted_return(assigned.rewards, mask, ppo.gamma)
        explained = ExplainedVariance.of(recall.values, assigned.credit.returns, mask)
        staleness = torch.tensor([float(policy_version - r.policy_version) for r in drawn.rollouts])
        inf = torch.tensor(math.inf)
        extremes = torch.stack(
            [
                -torch.where(scored, batch.scores, inf).min(),
                torch.where(scored, batch.scores, -inf).max(),
                batch.lengths().max().float(),
                difference.max(),
                assigned.credit.weights.max(),
                (staleness * scored).max(),
            ]
        )
        least, most, longest, widest, weight, oldest = group.max(extremes).tolist()
        return cls(
            scores=global_moments(batch.scores, scored, group),
            score_min=-least,
            score_max=most,
            components=mean_components(drawn.outcomes, group),
            quarantined=int(group.sum((~scored).sum())),
            returns=global_moments(returns, scored, group),
            kl=global_moments(k1.sum(dim=1), scored, group),
            kl_k3=global_moments(k3.sum(dim=1), scored, group),
            entropy=global_moments(recall.entropy, mask, group),
            lengths=global_moments(batch.lengths().float(), scored, group),
            longest=int(longest),
            truncated=global_moments(batch.truncated.float(), scored, group),
            advantages=assigned.advantage_moments,
            explained_variance=ExplainedVariance.from_tensor(
                group.sum(explained.as_tensor())
            ).value,
            sampler_difference=global_moments(difference, mask, group),
            sampler_difference_max=widest,
            weight_max=weight,
            equal_groups=assigned.equal_groups,
            length_correlation=correlation(batch.scores, batch.lengths().float(), scored, group),
            repetition=global_moments(repeated_trigrams(drawn.rollouts), scored, group),
            passed_over=drawn.passed_over,
            temperature=batch.temperature,
            staleness=global_moments(staleness, scored, group),
            staleness_max=int(oldest),
            ahead=drawn.ahead,
        )


def correlation(
    one: torch.Tensor, other: torch.Tensor, counts: torch.Tensor, group: Group
) -> float:
    """Pearson's r of two [B] vectors where `counts`, over all ranks; 0 when either is constant."""
    x, y = one[counts].double(), other[counts].double()
    sums = torch.stack(
        [counts.sum().double(), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
    )
    whole: list[float] = group.sum(sums).tolist()
    n, sx, sy, sxx, syy, sxy = whole
    if n < 2:
        return 0.0
    spread = max(sxx - sx * sx / n, 0.0) * max(syy - sy * sy / n, 0.0)
    # Below rounding error of the sums a vector counts as constant.
    if spread <= 1e-12 * max(sxx * syy, 1e-300):
        return 0.0
    return max(-1.0, min(1.0, (sxy - sx * sy / n) / math.sqrt(spread)))


def repeated_trigrams(rollouts: Sequence[Rollout]) -> torch.Tensor:
    """[B] share of each response's trigrams of the policy's tokens that stand earlier in it too."""
    return torch.tensor([repeated_share(produced(rollout), 3) for rollout in rollouts])


def produced(rollout: Rollout) -> list[int]:
    """The tokens that the policy produced."""
    pairs = zip(rollout.token_ids, rollout.actions, strict=True)
    return [token for token, mine in pairs if mine]


def mean_components(outcomes: Sequence[ScoreOutcome], group: Group) -> dict[str, float]:
    """Mean of each named part of the scores, over all ranks."""
    mine: dict[str, list[float]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Score):
            for name, value in outcome.components.items():
                mine.setdefault(name, []).append(value)
    everyone: list[dict[str, list[float]]] = group.gather(mine)
    names = sorted({name for found in everyone for name in found})
    parts = {name: [v for found in everyone for v in found.get(name, [])] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in parts.items()}


def ppo_report(
    outline: Outline,
    stats: UpdateStats,
    policy_version: int,
    kl_coef: float,
    seconds: PhaseSeconds,
    speed: Speed,
) -> PpoReport:
    """The step's report."""
    tokens = outline.lengths.total
    return PpoReport(
        policy_version=policy_version,
        responses=int(outline.scores.count),
        quarantined=outline.quarantined,
        score_mean=outline.scores.mean,
        score_std=outline.scores.std,
        score_min=outline.score_min,
        score_max=outline.score_max,
        components=dict(outline.components),
        return_mean=outline.returns.mean,
        kl=outline.kl.mean,
        kl_k3=outline.kl_k3.mean,
        kl_coef=kl_coef,
        entropy=outline.entropy.mean,
        response_length_mean=outline.lengths.mean,
        response_length_max=outline.longest,
        truncated_fraction=outline.truncated.mean,
        policy_loss=stats.policy_loss,
        value_loss=stats.value_loss,
        approx_kl=stats.approx_kl,
        clip_fraction_low=stats.clip_fraction_low,
        clip_fraction_high=stats.clip_fraction_high,
        value_clip_fraction=stats.value_clip_fraction,
        advantage_mean=outline.advantages.mean,
        advantage_std=outline.advantages.std,
        explained_variance=outline.explained_variance,
        equal_groups_fraction=outline.equal_groups,
        length_correlation=outline.length_correlation,
        repetition=outline.repetition.mean,
        groups_passed_over=outline.passed_over,
        temperature=outline.temperature,
        policy_grad_norm=stats.policy_grad_norm,
        critic_grad_norm=stats.critic_grad_norm,
        learning_rate=stats.learning_rate,
        critic_learning_rate=stats.critic_learning_rate,
        sampler_difference_mean=outline.sampler_difference.mean,
        sampler_difference_max=outline.sampler_difference_max,
        importance_weight_max=outline.weight_max,
        staleness_mean=outline.staleness.mean,
        staleness_max=outline.staleness_max,
        tokens_per_second=tokens / max(seconds.total, 1e-9),
        generate_tokens_per_second=tokens / max(seconds.generate + outline.ahead.generate, 1e-9),
        flops_per_second=speed.step,
        peak_flops_per_second=speed.peak,
        update_flops_per_second=speed.update,
        seconds=seconds,
        ahead_seconds=outline.ahead,
    )
