"""Where a step's responses come from: sampled when it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rlhf_service.annealing import sampling_at
from rlhf_service.clock import PhaseClock
from rlhf_service.drawing import Draw, Respondent, draw
from rlhf_service.spec.stages import PpoStage

if TYPE_CHECKING:
    from rlhf_service.step import PpoRun, PpoState


class RolloutSource(Protocol):
    """Gives each step its responses."""

    def draw(self, run: PpoRun, state: PpoState, clock: PhaseClock) -> Draw:
        """This rank's scored responses for the step after `state`. Collective."""
        ...

    def close(self) -> None:
        """No step will ask any more."""
        ...


class InStep:
    """Sampled when the step asks, by the weights that learn from it: strictly on-policy."""

    def draw(self, run: PpoRun, state: PpoState, clock: PhaseClock) -> Draw:
        stage = run.stage
        ask = respondent(run, state.step, state.policy_version, clock)
        return draw(ask, state.ledger, stage.prompts_per_step, rounds_of(stage), run.group)

    def close(self) -> None:
        return None


def respondent(run: PpoRun, step: int, version: int, clock: PhaseClock) -> Respondent:
    """Asks policy `version` at the temperature of step `step` (0 is the first)."""
    return Respondent(
        prompts=run.prompts,
        samples_per_prompt=run.stage.samples_per_prompt,
        engine=run.engine,
        reward=run.reward,
        sampling=sampling_at(run.stage, step),
        version=version,
        seed=run.seed,
        clock=clock,
    )


def rounds_of(stage: PpoStage) -> int:
    """Rounds of generation in a step."""
    return stage.dynamic_sampling.rounds if stage.dynamic_sampling is not None else 1
