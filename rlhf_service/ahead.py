"""Where a step's responses come from: sampled and scored while earlier batches are learnt.

The lag is fixed, so that nothing depends on who is quick: the batch of step k is drawn by the version
that is `lag` older than the one that learns from it, or by the first. It is asked for as soon as that
version is published, and scored behind it, by one thread that takes the batches in order.

Consumes: batches asked for by the steps. Waits for: the rollout engine and the reward, as long as they
wait themselves. Unblocked by: their answer or their failure, which the step then sees.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rlhf_service.clock import PhaseClock
from rlhf_service.drawing import Answered, Draw, Respondent, complete
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import RewardFunction, RolloutEngine
from rlhf_service.prompts import shard
from rlhf_service.records import Prompt, Rollout, ScoreOutcome
from rlhf_service.reports import AheadSeconds
from rlhf_service.sources import respondent, rounds_of
from rlhf_service.spec.ppo import SamplingSpec

if TYPE_CHECKING:
    from rlhf_service.step import PpoRun, PpoState

FIRST_VERSION = 1
"""Of the weights that a stage begins with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch on its way."""

    positions: list[int]
    """Leased, over all ranks."""
    answers: Future[tuple[list[Answered], AheadSeconds]]
    """This rank's."""


class Ahead:
    """Keeps the batches of the `lag` next steps on their way. It holds what no checkpoint does: after
    a restart they are asked for again, from the same weights.
    """

    def __init__(self, lag: int, executor: Executor | None = None) -> None:
        self._lag = lag
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._asked: dict[int, Asked] = {}

    def draw(self, run: PpoRun, state: PpoState, clock: PhaseClock) -> Draw:
        """What teaches nothing is replaced in the step, from the newest weights."""
        state = replace(state, ledger=self._ask(run, state))
        asked = self._asked.pop(state.step)
        with clock.phase("wait"):
            answers, seconds = asked.answers.result()
        drawn = complete(
            respondent(run, state.step, state.policy_version, clock),
            answers,
            state.ledger,
            asked.positions,
            rounds_of(run.stage),
            run.group,
        )
        return replace(drawn, ahead=seconds)

    def close(self) -> None:
        """Forget what waits; what is being sampled or scored comes to its end first."""
        self._executor.shutdown(cancel_futures=True)
        self._asked.clear()

    def _ask(self, run: PpoRun, state: PpoState) -> PromptLedger:
        """Ask for every batch whose weights are there. The ledger with what was leased for them."""
        ledger = state.ledger
        for step in range(state.step, min(state.step + self._lag + 1, run.stage.steps)):
            if step in self._asked:
                continue
            ledger, positions = ledger.lease(run.stage.prompts_per_step)
            version = sampled_by(state.policy_version + step - state.step, self._lag)
            ask = respondent(run, step, version, PhaseClock())
            mine = shard(positions, run.group.rank, run.group.size)
            # Spans of the requests belong to the span that is open here.
            answers = self._executor.submit(copy_context().run, answered, ask, mine)
            self._asked[step] = Asked(positions, answers)
        return ledger


def answered(ask: Respondent, positions: Sequence[int]) -> tuple[list[Answered], AheadSeconds]:
    """Of one batch, with what it took."""
    answers, took = ask.answer(positions), ask.clock.seconds()
    return answers, AheadSeconds(generate=took.generate, judge=took.judge)


def sampled_by(learning: int, lag: int) -> int:
    """Version that samples the batch from which version `learning` learns."""
    return max(FIRST_VERSION, learning - lag)


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """A RolloutEngine and RewardFunction for two threads: evaluation waits for what is being sampled."""

    engine: RolloutEngine
    reward: RewardFunction
    _sampling: threading.Lock = field(default_factory=threading.Lock)
    _scoring: threading.Lock = field(default_factory=threading.Lock)

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        with self._sampling:
            return self.engine.generate(prompts, sampling, version=version, seed=seed)

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        with self._scoring:
            return self.reward.score(rollouts)
