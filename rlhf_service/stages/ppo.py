"""The PPO stage: builds the parts of a run, then takes steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.data.rows import read_prompts
from rlhf_service.data.tokens import answer_encoder
from rlhf_service.errors import RewardFailed, TrainingError, Unhealthy, UnhealthyPause
from rlhf_service.events import AlarmRaised, EvaluationCompleted, PromptQuarantined, SamplesDrawn
from rlhf_service.health.monitor import Monitor
from rlhf_service.ledger import PromptLedger
from rlhf_service.preflight import Encode, preflight, reference_columns
from rlhf_service.prompts import PromptSource
from rlhf_service.records import Rollout, ScoreFailure
from rlhf_service.reports import PpoReport
from rlhf_service.reward.quarantine import Evidence, keep
from rlhf_service.spec.stages import PpoStage
from rlhf_service.stages.assembly import build_learner, build_run, prompt_source, shape_folder
from rlhf_service.stages.bundle import recorded_step
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.evaluate import compare, evaluate, samples_of
from rlhf_service.stages.finish import export_policy
from rlhf_service.stages.lagging import publish_lagging, save_lagging
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.start import require_length, start
from rlhf_service.step import PpoRun, PpoState, ppo_step, publish

PREFLIGHT_SEED_OFFSET = 2_000_003
"""Keeps the preflight's draws apart from those of training and evaluation."""


def run_ppo(context: StageContext, stage: PpoStage, field: str) -> None:
    """Train, evaluate, then export the policy. `field` is the stage's place in the spec."""
    rows = read_prompts(stage.prompts, f"{field}.prompts.path")
    begun = start(context, stage, lambda: (row.prompt for row in rows))
    longest = stage.max_prompt_length + stage.sampling.max_new_tokens
    require_length(begun, longest, f"{field}.sampling.max_new_tokens (with max_prompt_length)")
    learner = build_learner(context, stage, begun)
    shape = shape_folder(context, stage, begun)
    run = build_run(context, stage, field, begun, learner, shape)
    held_out = None
    if stage.evaluation is not None:
        source = stage.evaluation.prompts
        at = f"{field}.evaluation.prompts.path"
        held_out = prompt_source(context, stage, begun, source, at)
    trainer = PpoTrainer(context, run, held_out, answer_encoder(begun.tokenizer))
    try:
        run_steps(context, trainer)
    finally:
        run.source.close()
    figures = {f"held_out_reward_step_{e.step}": e.mean for e in trainer.evaluations}
    export_policy(context, stage, learner.policy, begun, figures)


class PpoTrainer:
    """PPO as the stage loop sees it."""

    def __init__(
        self,
        context: StageContext,
        run: PpoRun,
        held_out: PromptSource | None,
        encode: Encode,
    ) -> None:
        self.name, self.kind, self.steps = run.stage.name, run.stage.type, run.stage.steps
        self._context, self._run, self._held_out = context, run, held_out
        self._encode = encode
        self._state = PpoState(
            step=0,
            policy_version=1,
            kl_coef=run.stage.ppo.kl.coef,
            normaliser=RunningMoments(),
            ledger=PromptLedger(),
        )
        self.evaluations: list[EvaluationCompleted] = []
        self.over: str | None = None
        self.unwell: TrainingError | None = None
        self._monitor = Monitor(run.stage, run.stage.health)

    def begin(self) -> None:
        publish(self._run, self._state.policy_version)
        if self._run.stage.preflight.enabled:
            look_at_reward(self._context, self._run, self._encode)
        self._evaluate()

    def step(self, step: int) -> PpoReport:
        if step in self._run.stage.keep_steps:
            outcome = recorded_step(self._context, self._run, self._state, self.save)
        else:
            outcome = ppo_step(self._run, self._state)
        self._state = outcome.state
        self._keep_evidence(step, outcome.quarantined)
        for rollout, failure in outcome.quarantined:
            message = f"{failure.kind}: {failure.message}"
            self._context.emit(
                PromptQuarantined(
                    stage=self.name, step=step, prompt=rollout.prompt.row, message=message
                )
            )
        if step == 1 or step % self._run.stage.sample_every == 0:
            drawn = samples_of(outcome.drawn.rollouts, outcome.drawn.outcomes)
            self._context.emit(SamplesDrawn(stage=self.name, step=step, samples=drawn))
        self._watch(step, outcome.report)
        self.over = beyond_budget(self._run.stage.ppo.kl_budget, outcome.report.kl)
        evaluation = self._run.stage.evaluation
        every = evaluation.every if evaluation is not None else None
        if step == self.steps or self.over or (every and step % every == 0):
            self._evaluate()
        if (step == self.steps or self.over) and len(self.evaluations) > 1:
            self._context.emit(compare(self._run, self.evaluations[0], self.evaluations[-1]))
        return outcome.report

    def save(self, folder: Path) -> dict[str, Any]:
        self._run.learner.save(folder)
        save_lagging(self._run, self._state, folder)
        return {
            **self._state.saved(),
            "evaluations": [e.model_dump(mode="json") for e in self.evaluations],
            "over": self.over,
            "monitor": self._monitor.saved(),
        }

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        self._run.learner.load(folder)
        self._state = PpoState.restored(state)
        self.evaluations = [EvaluationCompleted.model_validate(e) for e in state["evaluations"]]
        self.over = state["over"]
        self._monitor = self._monitor.restored(state["monitor"])
        publish_lagging(self._run, self._state, folder)
        publish(self._run, self._state.policy_version)

    def _keep_evidence(self, step: int, failed: Sequence[tuple[Rollout, ScoreFailure]]) -> None:
        if failed and self._context.group.rank == 0:
            stage = self._run.stage
            found = (Evidence.of(self.name, step, stage.reward, r, f) for r, f in failed)
            keep(self._context.folder.quarantine, found, stage.on_failure.evidence)

    def _watch(self, step: int, report: PpoReport) -> None:
        self._monitor, said = self._monitor.look(step, report)
        for event in said:
            self._context.emit(event)
            if isinstance(event, AlarmRaised):
                self.unwell = self.unwell or consequence(event, self._run.stage.health.action)

    def _evaluate(self) -> None:
        if self._held_out is None:
            return
        found = evaluate(self._run, self._held_out, self._state.step, self._state.policy_version)
        self.evaluations.append(found)
        self._context.emit(found)


def consequence(
    alarm: AlarmRaised, action: Literal["none", "pause", "stop"]
) -> TrainingError | None:
    """What the stage ends with because of an alarm."""
    found = (
        f"alarm {alarm.alarm} ({alarm.value:.3g}, threshold {alarm.threshold:g}): {alarm.advice}"
    )
    at = f"after step {alarm.step} of stage {alarm.stage}: {found}"
    match action:
        case "stop":
            return Unhealthy(f"stopped {at}")
        case "pause":
            return UnhealthyPause(f"paused {at}; resume the job to go on all the same")
        case "none":
            return None


def look_at_reward(context: StageContext, run: PpoRun, encoder: Encode) -> None:
    """The preflight, on rank 0. Collective. Raises RewardFailed when a warning is to refuse."""
    stage, spec = run.stage, run.stage.preflight
    found = None
    if run.group.rank == 0:
        count = min(spec.num_prompts, len(run.prompts.rows))
        asked = run.prompts.in_order(list(range(count)), stage.samples_per_prompt)
        seed = run.seed + PREFLIGHT_SEED_OFFSET
        sampled = run.engine.generate(asked, stage.sampling, version=1, seed=seed)
        columns = reference_columns(stage.reward)
        found = preflight(stage.name, sampled, run.reward, columns, encoder)
    found = run.group.broadcast(found)
    assert found is not None
    context.emit(found)
    if found.warnings and spec.on_warning == "refuse":
        raise RewardFailed(
            f"the reward's preflight warns: {'; '.join(found.warnings)}; mend the reward, or set "
            "preflight.on_warning to warn"
        )


def beyond_budget(budget: float | None, kl: float) -> str | None:
    """Why the stage ends here, when KL to the reference has passed the budget."""
    if budget is None or kl <= budget:
        return None
    return f"KL to the reference is {kl:.3g}, over ppo.kl_budget {budget:g}"
