"""What a job's last stage began from, by the name under which it can be asked too."""

from __future__ import annotations

import os
from collections.abc import Sequence

from api.schemas.models import ModelView
from api.settings import Settings
from rlhf_service.spec import JobSpec
from rlhf_service.spec.model import FolderModel, StageModel
from rlhf_service.spec.stages import RewardStage


def origin(spec: JobSpec, job_id: str, settings: Settings, base: Sequence[ModelView]) -> str | None:
    """None for a model that was made anew, or whose start has no name."""
    *earlier, last = spec.stages
    if isinstance(last, RewardStage):
        return None
    start = last.model
    if start is None:
        policies = [stage.name for stage in earlier if not isinstance(stage, RewardStage)]
        start = StageModel(stage=policies[-1]) if policies else spec.model
    match start:
        case StageModel():
            return f"{job_id}/{start.stage}"
        case FolderModel():
            return named(start.path, settings, base)
        case _:
            return None


def named(path: str, settings: Settings, base: Sequence[ModelView]) -> str | None:
    """The name of the model in a folder: a base model's, or that of the job that left it."""
    real, jobs = os.path.realpath(path), os.path.realpath(settings.storage / "jobs")
    for view in base:
        if os.path.realpath(view.path) == real:
            return view.id
    if not real.startswith(jobs + os.sep):
        return None
    match os.path.relpath(real, jobs).split(os.sep):
        case [job, "model"]:
            return job
        case [job, "stages", stage, "model"]:
            return f"{job}/{stage}"
        case _:
            return None
