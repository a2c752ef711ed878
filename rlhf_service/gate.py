"""Checks before the first PPO update, so that no compute is spent on a run that cannot be right."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rlhf_service.batch import ExperienceBatch, Recall
from rlhf_service.errors import GateFailed
from rlhf_service.ports import Group
from rlhf_service.spec.learner import Precision
from rlhf_service.spec.ppo import GateSpec

KL_TOLERANCE = 1e-3


LARGEST: Mapping[Precision, float] = {"fp32": 0.05, "bf16": 0.5}
"""Difference of sampler and trainer on a token, when the job does not say."""


def largest_difference(gate: GateSpec, precision: Precision) -> float:
    """What the gate allows in that precision."""
    found = gate.max_logprob_difference
    return LARGEST[precision] if found is None else found


def check_gate(batch: ExperienceBatch, recall: Recall, largest: float, group: Group) -> None:
    """KL to the reference is 0, and sampler and trainer differ by no more than `largest` on a token.
    Raises GateFailed. Collective.
    """
    mask = batch.response_mask
    drift = ((recall.old_logprobs - recall.ref_logprobs).abs() * mask).max()
    disagreement = ((recall.old_logprobs - batch.sampler_logprobs).abs() * mask).max()
    drift, disagreement = group.max(torch.stack([drift, disagreement])).tolist()
    if not drift <= KL_TOLERANCE:
        raise GateFailed(
            f"policy and reference differ by {drift:.3g} nats on a token before any update "
            f"(allowed {KL_TOLERANCE}); they must start from the same weights"
        )
    if not disagreement <= largest:
        raise GateFailed(
            f"sampler and trainer log-probs differ by {disagreement:.3g} on a token (allowed "
            f"gate.max_logprob_difference = {largest:g}); check that both run the "
            "same model, precision and temperature"
        )


def check_first_ratio(
    approx_kl: float, clip_fraction: float, epochs_times_minibatches: int
) -> None:
    """With one optimiser step in the update, ratio 1 everywhere. Raises GateFailed."""
    if epochs_times_minibatches == 1 and (approx_kl > KL_TOLERANCE or clip_fraction > 0):
        raise GateFailed(
            f"before any update the ratio is not 1 (approx-KL {approx_kl:.3g}, clip fraction "
            f"{clip_fraction:.3g}); annotation and update disagree"
        )
