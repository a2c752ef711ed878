"""From scores to advantages: what each response token is worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlhf_service.algorithms.groups import equal_groups
from rlhf_service.algorithms.kl import kl_estimate
from rlhf_service.algorithms.losses import importance_weights
from rlhf_service.algorithms.masking import Moments, whiten
from rlhf_service.algorithms.rewards import RunningMoments, overlong_penalty, token_rewards
from rlhf_service.batch import Credit, ExperienceBatch, Recall
from rlhf_service.estimators import Paid, build_estimator
from rlhf_service.ports import Group
from rlhf_service.spec.ppo import PpoSpec


@dataclass(frozen=True, slots=True)
class Assigned:
    """Credit, and the figures on the way to it that a report wants."""

    credit: Credit
    rewards: torch.Tensor
    """[B, T] reward of each token, KL penalty included."""
    advantage_moments: Moments
    """Before whitening, over all ranks."""
    normaliser: RunningMoments
    """The reward normaliser's next state."""
    equal_groups: float
    """Share of prompts, over all ranks, whose responses scored all the same."""


def assign_credit(
    batch: ExperienceBatch,
    recall: Recall,
    ppo: PpoSpec,
    *,
    limit: int,
    kl_coef: float,
    normaliser: RunningMoments,
    group: Group,
) -> Assigned:
    """Score → token rewards → advantages → whitening over the global batch.

    `limit` is the most tokens a response may have.
    """
    mask = batch.response_mask
    scores, normaliser = shape_scores(batch, ppo, limit, normaliser, group)
    penalty = kl_coef if ppo.kl.placement == "reward" else 0.0
    kl = kl_estimate(recall.old_logprobs, recall.ref_logprobs, ppo.kl.estimator)
    rewards = token_rewards(scores, kl, mask, penalty)
    estimate = build_estimator(ppo.advantage, ppo.gamma)
    advantages, returns = estimate(Paid(scores, rewards), batch, recall)

    moments = global_moments(advantages, mask, group)
    if ppo.advantage.whiten:
        advantages = whiten(advantages, mask, moments)
    weights = importance_weights(recall.old_logprobs, batch.sampler_logprobs, ppo.importance_cap)
    credit = Credit(advantages * mask, returns * mask, weights * mask)
    equal, present = group.sum(
        torch.tensor(equal_groups(scores, batch.groups, batch.scored), dtype=torch.float64)
    ).tolist()
    return Assigned(credit, rewards, moments, normaliser, equal / max(present, 1.0))


def shape_scores(
    batch: ExperienceBatch, ppo: PpoSpec, limit: int, normaliser: RunningMoments, group: Group
) -> tuple[torch.Tensor, RunningMoments]:
    """[B] scores after length penalties, normalisation and clipping; and the normaliser's state."""
    scores = batch.scores - ppo.truncation_penalty * batch.truncated
    if ppo.overlong is not None:
        scores = scores - overlong_penalty(
            batch.lengths(), limit, ppo.overlong.buffer, ppo.overlong.penalty
        )
    if ppo.normalize_reward:
        normaliser = normaliser.merge(global_moments(scores, batch.scored, group))
        scores = scores / max(normaliser.std, 1e-8)
    if ppo.reward_clip is not None:
        scores = scores.clamp(-ppo.reward_clip, ppo.reward_clip)
    return scores * batch.scored, normaliser


def global_moments(values: torch.Tensor, mask: torch.Tensor, group: Group) -> Moments:
    """Moments of `values` where `mask`, over all ranks."""
    return Moments.from_tensor(group.sum(Moments.of(values, mask).as_tensor()))
