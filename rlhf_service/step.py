"""One RLHF step: generate, judge, annotate, credit, update, publish, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlhf_service.algorithms.kl import next_kl_coef
from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.annealing import sampling_at
from rlhf_service.batch import ExperienceBatch, collate
from rlhf_service.clock import PhaseClock
from rlhf_service.credit import assign_credit
from rlhf_service.drawing import Draw
from rlhf_service.errors import RewardFailed
from rlhf_service.gate import LARGEST, check_first_ratio, check_gate
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import Group, Learner, RewardFunction, RolloutEngine, WeightChannel
from rlhf_service.prompts import PromptSource
from rlhf_service.records import Rollout, ScoreFailure
from rlhf_service.reporting import Outline, ppo_report
from rlhf_service.reports import PpoReport
from rlhf_service.sources import InStep, RolloutSource
from rlhf_service.spec.stages import PpoStage
from rlhf_service.throughput import NOT_MEASURED, StepWork
from rlhf_service.vitals import Entered, ignore


@dataclass(frozen=True, slots=True)
class PpoState:
    """What one step hands to the next, besides the networks. Saved in every checkpoint."""

    step: int
    """Steps done."""
    policy_version: int
    """Version that the next step samples from."""
    kl_coef: float
    """β of the next step."""
    normaliser: RunningMoments
    """Running moments of the scores."""
    ledger: PromptLedger
    """Which prompts are trained."""

    def saved(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "step": self.step,
            "policy_version": self.policy_version,
            "kl_coef": self.kl_coef,
            "normaliser": asdict(self.normaliser),
            "ledger": self.ledger.saved(),
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> PpoState:
        """The reverse of `saved`."""
        return cls(
            step=saved["step"],
            policy_version=saved["policy_version"],
            kl_coef=saved["kl_coef"],
            normaliser=RunningMoments(**saved["normaliser"]),
            ledger=PromptLedger.restored(saved["ledger"]),
        )


@dataclass(frozen=True, slots=True)
class PpoRun:
    """The parts of a running PPO stage on one rank."""

    stage: PpoStage
    seed: int
    prompts: PromptSource
    engine: RolloutEngine
    reward: RewardFunction
    metrics: Mapping[str, RewardFunction]
    """Further graders of held-out responses, by name."""
    learner: Learner
    weights: WeightChannel
    group: Group
    entered: Entered = ignore
    work: StepWork | None = None
    """What a step asks for, to report how fast it was done; not reported when absent."""
    source: RolloutSource = field(default_factory=InStep)
    """Whence a step has its responses."""
    largest_difference: float = LARGEST["fp32"]
    """Of sampler and trainer on a token, before the first update."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step leaves behind."""

    state: PpoState
    report: PpoReport
    drawn: Draw
    """This rank's responses."""
    quarantined: list[tuple[Rollout, ScoreFailure]]
    """Over all ranks."""


def ppo_step(run: PpoRun, state: PpoState) -> StepOutcome:
    """One step on this rank's shard of the prompts. Collective."""
    stage, group, clock = run.stage, run.group, PhaseClock(run.entered)
    version = state.policy_version
    drawn = run.source.draw(run, state, clock)
    quarantined = gather_failures(drawn, group)
    batch = collate(drawn.rollouts, drawn.outcomes, sampling_at(stage, state.step).temperature)
    require_scores(batch, quarantined, group)

    with clock.phase("annotate"):
        recall = run.learner.annotate(batch)
    if state.step == 0:
        check_gate(batch, recall, run.largest_difference, group)
    assigned = assign_credit(
        batch,
        recall,
        stage.ppo,
        limit=stage.sampling.max_new_tokens,
        kl_coef=state.kl_coef,
        normaliser=state.normaliser,
        group=group,
    )
    with clock.phase("update"):
        stats = run.learner.update(
            batch, recall, assigned.credit, step=state.step + 1, kl_coef=state.kl_coef
        )
    clock.add("optimizer", stats.optimizer_seconds)
    if state.step == 0:
        clipped = stats.clip_fraction_low + stats.clip_fraction_high
        check_first_ratio(stats.approx_kl, clipped, stage.ppo.epochs * stage.ppo.minibatches)
    with clock.phase("publish"):
        publish(run, version + 1)

    outline = Outline.of(batch, recall, assigned, drawn, stage.ppo, version, group)
    seconds, speed = clock.seconds(), NOT_MEASURED
    if run.work is not None:
        warming = stage.ppo.warms_up(state.step + 1)
        speed = run.work.speed(batch, stats.epochs, seconds, group, warming)
    report = ppo_report(outline, stats, version, state.kl_coef, seconds, speed)
    state = PpoState(
        step=state.step + 1,
        policy_version=version + 1,
        kl_coef=kl_coef_after(state.kl_coef, report, stage),
        normaliser=assigned.normaliser,
        ledger=drawn.ledger.settle(
            drawn.positions, {rollout.prompt.position for rollout, _ in quarantined}
        ),
    )
    return StepOutcome(state, report, drawn, quarantined)


def publish(run: PpoRun, version: int) -> None:
    """Make the policy fetchable as `version`. Collective; waits for no rollout engine."""
    snapshot = run.learner.snapshot(version)
    if snapshot is not None:
        run.weights.publish(snapshot)
    run.group.barrier()


def gather_failures(drawn: Draw, group: Group) -> list[tuple[Rollout, ScoreFailure]]:
    """Responses without a score, over all ranks."""
    mine = [
        (rollout, outcome)
        for answered in drawn.drawn
        for rollout, outcome in answered
        if isinstance(outcome, ScoreFailure)
    ]
    return [failure for failures in group.gather(mine) for failure in failures]


def require_scores(
    batch: ExperienceBatch, quarantined: list[tuple[Rollout, ScoreFailure]], group: Group
) -> None:
    """At least half of a step's responses must have a score. Raises RewardFailed. Collective."""
    scored = int(group.sum(batch.scored.sum()))
    if quarantined and len(quarantined) >= scored:
        rollout, failure = quarantined[0]
        raise RewardFailed(
            f"the reward failed for {len(quarantined)} of {len(quarantined) + scored} responses of a "
            f"step; first (prompt row {rollout.prompt.row}): {failure.kind}: {failure.message}; "
            "mend the reward and resume"
        )


def kl_coef_after(coef: float, report: PpoReport, stage: PpoStage) -> float:
    """β of the next step: fixed, or moved towards the target."""
    kl = stage.ppo.kl
    if kl.target is None:
        return coef
    return next_kl_coef(coef, report.kl, kl.target, kl.horizon, report.responses)
