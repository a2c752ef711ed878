"""Rollouts as tensors, and what is known of each response token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rlhf_service.records import Rollout, Score, ScoreOutcome


@dataclass(frozen=True, slots=True)
class ExperienceBatch:
    """One rank's rollouts of one step. B rows, T response positions, all right-padded on the CPU.

    A quarantined row (no score) stays, with an all-False mask, so that every rank has the same
    number of rows and none waits for another in a collective.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    """Prompt tokens of each row."""

    response_ids: torch.Tensor
    """[B, T] int64."""

    response_mask: torch.Tensor
    """[B, T] bool; True where the policy produced the token, EOS included."""

    sampler_logprobs: torch.Tensor
    """[B, T] fp32, from the rollout engine."""

    scores: torch.Tensor
    """[B] fp32; 0 in quarantined rows."""

    scored: torch.Tensor
    """[B] bool; True where there is a score."""

    truncated: torch.Tensor
    """[B] bool; True where the response hit the length limit."""

    groups: torch.Tensor
    """[B] int64; equal for the responses to one prompt of the plan."""

    temperature: float
    """The sampler divided the logits by it, and so does the trainer."""

    @property
    def num_rows(self) -> int:
        return self.response_ids.shape[0]

    @property
    def num_tokens(self) -> int:
        """Response tokens that count."""
        return int(self.response_mask.sum())

    def lengths(self) -> torch.Tensor:
        """[B] response tokens of each row that count."""
        return self.response_mask.sum(dim=1)

    def rows(self, index: Sequence[int]) -> ExperienceBatch:
        """The rows at `index`, in that order, cut to the longest of them."""
        at = torch.as_tensor(index, dtype=torch.long)
        width = max(1, int(self.widths()[at].max())) if len(index) else 1
        return ExperienceBatch(
            prompt_ids=tuple(self.prompt_ids[i] for i in index),
            response_ids=self.response_ids[at, :width],
            response_mask=self.response_mask[at, :width],
            sampler_logprobs=self.sampler_logprobs[at, :width],
            scores=self.scores[at],
            scored=self.scored[at],
            truncated=self.truncated[at],
            groups=self.groups[at],
            temperature=self.temperature,
        )

    def widths(self) -> torch.Tensor:
        """[B] positions up to the last token that counts, at least 1."""
        positions = torch.arange(1, self.response_mask.shape[1] + 1)
        return (self.response_mask * positions).amax(dim=1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Recall:
    """What the networks say of a batch before it is learnt from. All [B, T] fp32, 0 where masked."""

    old_logprobs: torch.Tensor
    """log π of the policy that is about to be updated."""

    ref_logprobs: torch.Tensor
    """log π of the frozen reference."""

    values: torch.Tensor
    """Critic's estimate before each token."""

    entropy: torch.Tensor
    """Of the policy's distribution at each token, nats."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What each token is worth. All [B, T] fp32, 0 where masked."""

    advantages: torch.Tensor
    """Whitened when the spec asks for it."""

    returns: torch.Tensor
    """What the critic should have said."""

    weights: torch.Tensor
    """Truncated importance weights trainer / sampler; 1 when they agree."""


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Means over all ranks, minibatches and epochs of one update."""

    policy_loss: float
    value_loss: float
    approx_kl: float
    clip_fraction_low: float
    clip_fraction_high: float
    value_clip_fraction: float
    policy_grad_norm: float
    critic_grad_norm: float
    learning_rate: float
    critic_learning_rate: float
    epochs: float
    """Passes over the batch; fewer than the spec's when they were stopped early."""
    optimizer_seconds: float = field(default=0.0, compare=False)
    """Of this rank: reducing and clipping gradients, and the optimisers' steps."""


def collate(
    rollouts: Sequence[Rollout], outcomes: Sequence[ScoreOutcome], temperature: float
) -> ExperienceBatch:
    """Rollouts sampled at `temperature` and their outcomes, in the same order, right-padded."""
    width = max(len(r.token_ids) for r in rollouts)
    shape = (len(rollouts), width)
    response_ids = torch.zeros(shape, dtype=torch.long)
    response_mask = torch.zeros(shape, dtype=torch.bool)
    sampler_logprobs = torch.zeros(shape)
    scores = torch.zeros(len(rollouts))
    scored = torch.zeros(len(rollouts), dtype=torch.bool)
    for row, (rollout, outcome) in enumerate(zip(rollouts, outcomes, strict=True)):
        length = len(rollout.token_ids)
        response_ids[row, :length] = torch.tensor(rollout.token_ids)
        if isinstance(outcome, Score):
            response_mask[row, :length] = torch.tensor(rollout.actions)
            sampler_logprobs[row, :length] = torch.tensor(rollout.logprobs)
            scores[row] = outcome.value
            scored[row] = True
    return ExperienceBatch(
        prompt_ids=tuple(r.prompt.token_ids for r in rollouts),
        response_ids=response_ids,
        response_mask=response_mask,
        sampler_logprobs=sampler_logprobs,
        scores=scores,
        scored=scored,
        truncated=torch.tensor([r.truncated for r in rollouts]),
        groups=torch.tensor([r.prompt.position for r in rollouts]),
        temperature=temperature,
    )
