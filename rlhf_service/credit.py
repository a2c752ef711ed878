"""From scores to advantages: what each response token is worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlhf_service.algorithms.advantages import gae
from rlhf_service.algorithms.kl import kl_estimate
from rlhf_service.algorithms.losses import importance_weights
from rlhf_service.algorithms.masking import Moments, whiten
from rlhf_service.algorithms.rewards import RunningMoments, token_rewards
from rlhf_service.batch import Credit, ExperienceBatch, Recall
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


def assign_credit(
    batch: ExperienceBatch,
    recall: Recall,
    ppo: PpoSpec,
    *,
    kl_coef: float,
    normaliser: RunningMoments,
    group: Group,
) -> Assigned:
    """Score → token rewards → GAE → whitening over the global batch (PPO.md order)."""
    mask = batch.response_mask
    scores, normaliser = shape_scores(batch, ppo, normaliser, group)
    penalty = kl_coef if ppo.kl.placement == "reward" else 0.0
    kl = kl_estimate(recall.old_logprobs, recall.ref_logprobs, ppo.kl.estimator)
    rewards = token_rewards(scores, kl, mask, penalty)
    advantages, returns = gae(rewards, recall.values, mask, ppo.gamma, ppo.lam)

    moments = global_moments(advantages, mask, group)
    if ppo.whiten_advantages:
        advantages = whiten(advantages, mask, moments)
    weights = importance_weights(recall.old_logprobs, batch.sampler_logprobs, ppo.importance_cap)
    credit = Credit(advantages * mask, returns * mask, weights * mask)
    return Assigned(credit, rewards, moments, normaliser)


def shape_scores(
    batch: ExperienceBatch, ppo: PpoSpec, normaliser: RunningMoments, group: Group
) -> tuple[torch.Tensor, RunningMoments]:
    """[B] scores after truncation penalty, normalisation and clipping; and the normaliser's state."""
    scores = batch.scores - ppo.truncation_penalty * batch.truncated
    if ppo.normalize_reward:
        normaliser = normaliser.merge(global_moments(scores, batch.scored, group))
        scores = scores / max(normaliser.std, 1e-8)
    if ppo.reward_clip is not None:
        scores = scores.clamp(-ppo.reward_clip, ppo.reward_clip)
    return scores * batch.scored, normaliser


def global_moments(values: torch.Tensor, mask: torch.Tensor, group: Group) -> Moments:
    """Moments of `values` where `mask`, over all ranks."""
    return Moments.from_tensor(group.sum(Moments.of(values, mask).as_tensor()))
