"""The loop every stage runs: restore, step, report, checkpoint, stop when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from rlhf_service.errors import TrainingError
from rlhf_service.events import CheckpointSaved, Log, StageStarted, StepCompleted
from rlhf_service.reports import StepReport
from rlhf_service.stages.context import StageContext, StopRequested


class Trainer(Protocol):
    """One stage's training, a step at a time. Every method is collective."""

    @property
    def name(self) -> str:
        """Name of the stage."""
        ...

    @property
    def kind(self) -> str:
        """Its type in the spec."""
        ...

    @property
    def steps(self) -> int:
        """Planned steps."""
        ...

    @property
    def over(self) -> str | None:
        """Why no further step is wanted, once that is so."""
        ...

    @property
    def unwell(self) -> TrainingError | None:
        """What to end with when training must not go on like this."""
        ...

    def begin(self) -> None:
        """Called once before the first step, unless a checkpoint is restored."""
        ...

    def step(self, step: int) -> StepReport:
        """Do step `step` (1 is the first) and report it."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write into `folder`; return the JSON state that goes with it."""
        ...

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """The reverse of save."""
        ...


def run_steps(context: StageContext, trainer: Trainer) -> None:
    """Run `trainer` from its newest checkpoint to its last step.

    Raises, after the checkpoint, StopRequested when the job is asked to stop, and `trainer.unwell`.
    """
    done = restore(context, trainer)
    context.emit(
        StageStarted(stage=trainer.name, kind=trainer.kind, steps=trainer.steps, from_step=done)
    )
    if done == 0:
        trainer.begin()
    saved = done
    for step in range(done + 1, trainer.steps + 1):
        if trainer.over is not None:
            break
        report = trainer.step(step)
        context.emit(
            StepCompleted(
                stage=trainer.name,
                step=step,
                steps=trainer.steps,
                report=report,
                replayed=step <= context.reported.get(trainer.name, 0),
            )
        )
        context.progress(trainer.name, step)
        if trainer.over is not None:
            message = f"stage {trainer.name} ends at step {step} of {trainer.steps}: {trainer.over}"
            context.emit(Log(message=message))
        done = step
        stopping = context.stop_requested()
        if stopping or trainer.unwell or step % context.spec.checkpoint.every == 0:
            checkpoint(context, trainer, step)
            saved = step
        if trainer.unwell is not None:
            raise trainer.unwell
        if stopping and step < trainer.steps and trainer.over is None:
            raise StopRequested(f"stopped after step {step} of stage {trainer.name}")
    if saved < done:
        checkpoint(context, trainer, done)


def restore(context: StageContext, trainer: Trainer) -> int:
    """Load the newest checkpoint. Returns the steps already done."""
    found = context.group.broadcast(context.checkpoints.latest(trainer.name))
    if found is None:
        return 0
    trainer.load(found.path, found.state())
    context.checkpoints.restore_rng(found)
    return found.step


def checkpoint(context: StageContext, trainer: Trainer, step: int) -> None:
    """Save everything that decides step `step + 1`."""
    path, seconds = context.checkpoints.save(trainer.name, step, trainer.save)
    context.emit(CheckpointSaved(stage=trainer.name, step=step, path=str(path), seconds=seconds))
