"""When a policy-gradient run looks unwell, and what to do then."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class HealthSpec(Section):
    """Thresholds of the alarms; null switches an alarm off."""

    patience: int = Field(default=3, ge=1)
    """Steps in a row beyond a threshold before its alarm is raised."""

    action: Literal["none", "pause", "stop"] = "none"
    """What an alarm does besides being an event. `pause` checkpoints and lets go of the resources until
    somebody resumes the job; `stop` checkpoints and ends it as failed for reason `unhealthy`."""

    kl_per_token: float | None = Field(default=1.0, gt=0)
    """KL to the reference per response token, nats; above it the policy runs away."""

    entropy_share: float | None = Field(default=0.1, gt=0, lt=1)
    """Entropy as a share of the first step's; below it exploration has collapsed."""

    truncated: float | None = Field(default=0.7, gt=0, lt=1)
    """Share of responses cut at the length limit."""

    repetition: float | None = Field(default=0.4, gt=0, lt=1)
    """Share of a response's token trigrams that it said before."""

    length_correlation: float | None = Field(default=0.8, gt=0, lt=1)
    """Correlation of score and length; above it the reward pays for length."""

    explained_variance: float | None = Field(default=-0.5, lt=1)
    """Of the critic; below it the critic does harm. Not looked at without a critic, or while it
    warms up."""

    equal_groups: float | None = Field(default=0.8, gt=0, lt=1)
    """Share of prompts whose responses all score the same; above it a group method learns little.
    Only with several samples a prompt."""

    sampler_difference: float | None = Field(default=0.05, gt=0)
    """Mean |sampler − trainer| log-prob of a token."""

    disagreement_growth: float | None = Field(default=3.0, gt=1)
    """Disagreement of a reward-model ensemble over the first step's; above it the policy is where
    the reward models know nothing."""
