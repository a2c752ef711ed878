"""What crosses process borders: plain, frozen, picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt of the plan.

    Example:
        Prompt(position=130, sample=0, row=2, text="It was", token_ids=(5, 9), item={"prompt": "It was"})
    """

    position: int
    """Place in the job's prompt plan, counted over all epochs: the ledger's key."""

    sample: int
    """Which of the prompt's responses this is, from 0."""

    row: int
    """Row of the prompt file, from 0."""

    text: str
    """The prompt as the user wrote it."""

    token_ids: tuple[int, ...]
    """The prompt as the policy sees it; never re-encoded."""

    item: Mapping[str, object] = field(default_factory=dict)
    """The whole data row, for rewards that compare with a reference."""


class FinishReason(StrEnum):
    """Why a response ended."""

    EOS = "eos"  #: the policy emitted the end token, which is the response's last token
    LENGTH = "length"  #: cut at max_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One response and everything needed to learn from it."""

    prompt: Prompt
    """What it answers."""

    token_ids: tuple[int, ...]
    """Response tokens, EOS included when there is one; of all turns, and what stood between them."""

    logprobs: tuple[float, ...]
    """The sampler's log-prob of each response token, at the sampling temperature; 0 for tokens that
    the policy did not produce."""

    text: str
    """Response decoded without special tokens."""

    finish_reason: FinishReason
    """Why it ended."""

    policy_version: int
    """Weights that sampled it."""

    action_mask: tuple[bool, ...] = ()
    """True where the policy produced the token; empty when it produced them all. The others came from
    its environment: they are read, and never learnt."""

    transcript: str = ""
    """All turns, for people to read; empty when there is one. `text` is then the last turn."""

    seconds: float = field(default=0.0, compare=False)
    """From the start of the batch that it was drawn in to its end, by the clock of who drew it; 0 where
    nobody looked."""

    @property
    def truncated(self) -> bool:
        return self.finish_reason is FinishReason.LENGTH

    @property
    def actions(self) -> tuple[bool, ...]:
        """`action_mask`, written out when it is empty."""
        return self.action_mask or (True,) * len(self.token_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A reward and its named parts."""

    value: float
    """What PPO maximises; always finite."""

    components: Mapping[str, float] = field(default_factory=dict)
    """Named parts, before weighting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFailure:
    """The reward could not be had. Never a reward of 0."""

    kind: str
    """`raised`, `timeout`, `not_finite`."""

    message: str
    """What happened, for the quarantine record."""


ScoreOutcome = Score | ScoreFailure
