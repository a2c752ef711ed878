"""Useful arithmetic of a PPO step, for its report."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlhf_service.batch import ExperienceBatch
from rlhf_service.models.work import Work
from rlhf_service.ports import Group
from rlhf_service.reports import PhaseSeconds


@dataclass(frozen=True, slots=True)
class Speed:
    """Useful operations a second of all learner ranks, against what they could do."""

    step: float
    """Of generating, annotating and updating, over the whole step's seconds."""
    update: float
    """Of the update alone, over its seconds."""
    peak: float
    """Of matrix products, measured when the stage began."""


NOT_MEASURED = Speed(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class StepWork:
    """What a step's networks ask for, and the ranks' measured peak."""

    policy: Work
    critic: Work | None
    peak: float

    def speed(
        self,
        batch: ExperienceBatch,
        epochs: float,
        seconds: PhaseSeconds,
        group: Group,
        warming: bool = False,
    ) -> Speed:
        """Of a step that passed `epochs` times over `batch`, this rank's part of it, with the critic
        alone learning while it is `warming` up. Collective."""
        predicted = float(batch.widths().sum())
        tokens = predicted + sum(map(len, batch.prompt_ids))
        forward = self.policy.forward(tokens, predicted)
        learn = forward if warming else self.policy.learn(tokens, predicted)
        once = 3 * forward  # sampled, recalled, and recalled by the reference
        if self.critic is not None:
            once += self.critic.forward(tokens, predicted)
            learn += self.critic.learn(tokens, predicted)
        update = epochs * learn
        whole, updated = group.sum(torch.tensor([once + update, update]).double()).tolist()
        return Speed(
            whole / max(seconds.total, 1e-9), updated / max(seconds.update, 1e-9), self.peak
        )
