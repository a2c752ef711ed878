"""All stages of a job, in order, each resumed or skipped as its files say."""

from __future__ import annotations

import gc
import json
import shutil
import time

import torch

from rlhf_service.events import StageCompleted
from rlhf_service.models.heap import give_back_freed
from rlhf_service.spec.stages import (
    DpoStage,
    PpoStage,
    PretrainStage,
    RewardStage,
    SftStage,
    StageSpec,
)
from rlhf_service.stages.context import StageContext, StopRequested
from rlhf_service.stages.dpo import run_dpo
from rlhf_service.stages.finish import mark_done, stage_done
from rlhf_service.stages.ppo import run_ppo
from rlhf_service.stages.pretrain import run_pretrain
from rlhf_service.stages.reward import run_reward
from rlhf_service.stages.sft import run_sft
from rlhf_service.storage import write_atomically


def run_pipeline(context: StageContext) -> None:
    """Run what is not done yet, then write the completion record. Collective.

    Raises StopRequested when the job is asked to stop.
    """
    for index, stage in enumerate(context.spec.stages):
        done = context.group.broadcast(stage_done(context, stage.name))
        if done:
            continue
        if context.stop_requested():
            raise StopRequested(f"stopped before stage {stage.name}")
        started = time.perf_counter()
        run_stage(context, stage, f"stages[{index}]")
        let_go(context)
        seconds = time.perf_counter() - started
        mark_done(context, stage.name, seconds)
        context.emit(
            StageCompleted(
                stage=stage.name,
                model_path=str(context.folder.stage_model(stage.name)),
                seconds=seconds,
            )
        )
    complete(context)


def run_stage(context: StageContext, stage: StageSpec, field: str) -> None:
    """One stage, by its kind."""
    match stage:
        case PretrainStage():
            run_pretrain(context, stage, field)
        case SftStage():
            run_sft(context, stage, field)
        case RewardStage():
            run_reward(context, stage, field)
        case DpoStage():
            run_dpo(context, stage, field)
        case PpoStage():
            run_ppo(context, stage, field)


def let_go(context: StageContext) -> None:
    """Of all that a stage held."""
    context.engines.close()
    gc.collect()  # they hold themselves in circles, and their memory with them
    give_back_freed()
    if context.device.type == "cuda":
        torch.cuda.empty_cache()


def complete(context: StageContext) -> None:
    """Put the last stage's model in place, then write the record that means success."""
    if context.group.rank == 0:
        folder = context.folder
        final = folder.stage_model(context.spec.stages[-1].name)
        partial = folder.root / ".model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(final, partial)
        shutil.rmtree(folder.model, ignore_errors=True)
        partial.replace(folder.model)
        write_atomically(folder.result, json.dumps({"model": str(folder.model)}))
    context.group.barrier()
