"""Generate and judge: the responses a step learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from rlhf_service.clock import PhaseClock
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import Group, RewardFunction, RolloutEngine
from rlhf_service.prompts import PromptSource, shard
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reports import AheadSeconds
from rlhf_service.spec.ppo import SamplingSpec

Answered = list[tuple[Rollout, ScoreOutcome]]
"""The responses to one prompt of the plan."""


@dataclass(frozen=True, slots=True)
class Respondent:
    """Asks one version of the policy and judges what it says."""

    prompts: PromptSource
    samples_per_prompt: int
    engine: RolloutEngine
    reward: RewardFunction
    sampling: SamplingSpec
    version: int
    seed: int
    clock: PhaseClock

    def answer(self, positions: Sequence[int]) -> list[Answered]:
        """One group of scored responses for each position of the plan."""
        if not positions:
            return []
        prompts = self.prompts.at(positions, self.samples_per_prompt)
        with self.clock.phase("generate"):
            rollouts = self.engine.generate(
                prompts, self.sampling, version=self.version, seed=self.seed
            )
        self.clock.add("decode_tail", decode_tail(rollouts))
        with self.clock.phase("judge"):
            outcomes = self.reward.score(rollouts)
        pairs = list(zip(rollouts, outcomes, strict=True))
        size = self.samples_per_prompt
        return [pairs[at : at + size] for at in range(0, len(pairs), size)]


def decode_tail(rollouts: Sequence[Rollout]) -> float:
    """Seconds from when three of four responses had ended until the last had: few rows are decoded then
    at the price of many."""
    ended = sorted(rollout.seconds for rollout in rollouts)
    return ended[-1] - ended[math.ceil(0.75 * len(ended)) - 1] if ended else 0.0


@dataclass(frozen=True, slots=True)
class Draw:
    """One step's responses on this rank, and what was taken from the plan for them."""

    kept: list[Answered]
    """What is learnt from: the same number of groups on every rank."""
    drawn: list[Answered]
    """All that was answered, whether kept or passed over."""
    ledger: PromptLedger
    positions: list[int]
    """Leased, over all ranks."""
    passed_over: int
    """Groups, over all ranks, that were answered and not kept."""
    ahead: AheadSeconds = field(default_factory=AheadSeconds)
    """What was done before the step asked for it."""

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for rollout, _ in chain.from_iterable(self.kept)]

    @property
    def outcomes(self) -> list[ScoreOutcome]:
        return [outcome for _, outcome in chain.from_iterable(self.kept)]

    @property
    def judged(self) -> Answered:
        """Every response, kept or passed over, with its outcome."""
        return list(chain.from_iterable(self.drawn))


def draw(
    ask: Respondent, ledger: PromptLedger, prompts_per_step: int, rounds: int, group: Group
) -> Draw:
    """Answer the plan's next prompts, then `complete` them. Collective."""
    ledger, positions = ledger.lease(prompts_per_step)
    drawn = ask.answer(shard(positions, group.rank, group.size))
    return complete(ask, drawn, ledger, positions, rounds, group)


def complete(
    ask: Respondent,
    drawn: list[Answered],
    ledger: PromptLedger,
    positions: list[int],
    rounds: int,
    group: Group,
) -> Draw:
    """Replace answers to `positions` that teach nothing (arXiv 2503.14476, eq. 11).

    Each of at most `rounds` rounds, the first of which gave `drawn`, asks as many new prompts as are
    still wanting; when the rounds are used up, groups of equal scores fill the rest. One round takes
    the prompts as they come. Collective.
    """
    share = len(drawn)
    for _ in range(rounds - 1):
        wanting: list[int] = group.gather(share - sum(map(teaches, drawn)))
        if not any(wanting):
            break
        ledger, fresh = ledger.lease(sum(wanting))
        positions = positions + fresh
        first = sum(wanting[: group.rank])
        drawn = drawn + ask.answer(fresh[first : first + wanting[group.rank]])
    kept = drawn
    if rounds > 1:
        useful = [answered for answered in drawn if teaches(answered)]
        equal = [answered for answered in drawn if not teaches(answered)]
        kept = useful + equal[: share - len(useful)]
    passed_over = sum(group.gather(len(drawn) - len(kept)))
    return Draw(kept, drawn, ledger, positions, passed_over)


def teaches(answered: Answered) -> bool:
    """Whether the responses to a prompt differ in score: a group of equals has no advantage."""
    scores = {outcome.value for _, outcome in answered if isinstance(outcome, Score)}
    return len(scores) > 1
