"""A PPO step kept whole: weights before it, what was sampled and scored, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.recording import REPORT, recording, write_recording
from rlhf_service.stages.context import StageContext
from rlhf_service.step import PpoRun, PpoState, StepOutcome, ppo_step
from rlhf_service.storage import write_atomically

ALL = 10**6


def recorded_step(
    context: StageContext,
    run: PpoRun,
    state: PpoState,
    save: Callable[[Path], dict[str, Any]],
) -> StepOutcome:
    """`ppo_step`, kept in a folder `<stage>-step-N` of the job's bundles. Collective.

    `save` writes the state before the step, as a checkpoint does. Raises StorageError.
    """
    bundles = CheckpointFolder(context.folder.bundles, ALL, context.group)
    folder, _ = bundles.save(run.stage.name, state.step + 1, save)
    outcome = ppo_step(run, state)
    write_recording(recording(folder, context.group.rank), outcome.drawn.judged)
    if context.group.rank == 0:
        write_atomically(folder / REPORT, outcome.report.model_dump_json())
    context.group.barrier()
    return outcome
