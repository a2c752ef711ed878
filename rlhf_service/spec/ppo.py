"""Sampling and the PPO update."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rlhf_service.spec.advantage import AdvantageSpec, GaeAdvantage
from rlhf_service.spec.base import Section


class SamplingSpec(Section):
    """How the policy's tokens are drawn. Trainer and sampler both divide logits by `temperature`."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Response limit, EOS included; a response cut there is `truncated`."""

    temperature: float = Field(default=1.0, gt=0)
    """Softmax temperature, in rollouts and in training alike."""

    greedy: bool = False
    """Take the likeliest token each time. For evaluation; a policy in training samples."""


class KlSpec(Section):
    """Penalty for leaving the reference policy."""

    coef: float = Field(default=0.05, ge=0)
    """β at the start."""

    placement: Literal["reward", "loss"] = "reward"
    """Subtract β·kl from each token's reward, or add it to the loss."""

    estimator: Literal["k1", "k2", "k3"] = "k1"
    """Schulman's estimators; k1 belongs in the reward, k2 or k3 in the loss."""

    target: float | None = Field(default=None, gt=0)
    """KL per sequence (summed over its tokens, nats) that an adaptive β aims at; fixed when absent."""

    horizon: int = Field(default=10_000, ge=1)
    """Sequences over which the adaptive β corrects (Ziegler et al. 2019)."""

    @model_validator(mode="after")
    def k1_has_a_gradient(self) -> KlSpec:
        if self.placement == "loss" and self.estimator == "k1":
            raise ValueError(
                "estimator k1 in the loss has zero expected gradient; use k2 or k3, "
                "or placement reward"
            )
        return self


class OverlongSpec(Section):
    """Soft penalty near the length limit (DAPO, arXiv 2503.14476, eq. 13)."""

    buffer: int = Field(ge=1)
    """Tokens before the limit over which the penalty rises from 0 to `penalty`."""

    penalty: float = Field(default=1.0, gt=0)
    """Subtracted from the score of a response as long as the limit."""


class PpoSpec(Section):
    """The clipped policy-gradient update (arXiv 1707.06347, details of 2403.17031)."""

    advantage: AdvantageSpec = GaeAdvantage()
    """How tokens are credited; `gae` alone has a critic."""

    aggregation: Literal["token", "sequence", "sequence_sum", "fixed"] = "token"
    """What the tokens' losses are divided by: `token` their number in the whole optimiser step;
    `sequence` each response's length, then the number of responses; `sequence_sum` the number of
    responses alone; `fixed` the number of responses × max_new_tokens."""

    epochs: int = Field(default=4, ge=1)
    """Passes over each batch."""

    minibatches: int = Field(default=1, ge=1)
    """Optimiser steps in a pass."""

    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """ε below: the ratio is clipped at 1 − clip_low."""

    clip_high: float = Field(default=0.2, gt=0)
    """ε above: the ratio is clipped at 1 + clip_high."""

    dual_clip: float | None = Field(default=None, gt=1)
    """For negative advantages the loss is at most this times −A; off when absent."""

    value_clip: float | None = Field(default=0.2, gt=0)
    """Clip of the value's move from its old estimate; off when null. Critic only."""

    entropy_coef: float = Field(default=0.0, ge=0)
    """Entropy bonus."""

    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount."""

    normalize_reward: bool = False
    """Divide scores by their running standard deviation, kept across ranks and checkpoints."""

    reward_clip: float | None = Field(default=10.0, gt=0)
    """Scores are clipped to ± this; off when null."""

    truncation_penalty: float = Field(default=0.0, ge=0)
    """Subtracted from the score of a response that hit the length limit without EOS."""

    overlong: OverlongSpec | None = None
    """Soft penalty for responses close to the length limit; off when null."""

    importance_cap: float | None = Field(default=2.0, gt=0)
    """C of truncated importance sampling between sampler and trainer; off when null."""

    critic_warmup_steps: int = Field(default=0, ge=0)
    """Steps in which only the critic learns."""

    target_kl: float | None = Field(default=None, gt=0)
    """Stop the epochs of a batch once approx-KL to the batch's old policy passes this."""

    kl: KlSpec = KlSpec()
    """Penalty for leaving the reference."""

    kl_budget: float | None = Field(default=None, gt=0)
    """End the stage early, its policy kept, once KL to the reference (summed over a response, mean
    over responses, nats) passes this; off when null."""

    @model_validator(mode="after")
    def warm_up_needs_a_critic(self) -> PpoSpec:
        if self.critic_warmup_steps and not self.has_critic:
            raise ValueError(
                f"critic_warmup_steps has no use with advantage {self.advantage.type!r}, which has "
                "no critic; leave it out"
            )
        return self

    def warms_up(self, step: int) -> bool:
        """Whether step `step` (1 is the first) teaches the critic alone."""
        return step <= self.critic_warmup_steps

    @property
    def has_critic(self) -> bool:
        return isinstance(self.advantage, GaeAdvantage)


class GateSpec(Section):
    """What must hold before the first update: ratio 1, KL 0, sampler and trainer agree."""

    max_logprob_difference: float | None = Field(default=None, gt=0)
    """Largest |sampler − trainer| log-prob of any token. When absent 0.05 in fp32 and 0.5 in bf16, which
    rounds logits from 16 on to eighths: two kernels that sum in another order may differ by one or more
    of them."""
