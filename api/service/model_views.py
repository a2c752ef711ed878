"""Models as answers: a job's, that of one of its stages, and a checkpoint's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.openai.names import checkpoint_name, model_name
from api.openai.objects import unix
from api.openai.transcript import transcript_of
from api.schemas.models import ModelView, StageModelView
from api.service.origin import origin
from api.settings import Settings
from api.store.tables import FineTuneRow, JobRow
from rlhf_service.checkpoint_model import tokenizer_folder
from rlhf_service.manifest import checkpoint_name as folder_name
from rlhf_service.manifest import listed
from rlhf_service.spec import JobSpec
from rlhf_service.spec.stages import RewardStage

OWNER = "rlhf-service"


class ModelViews:
    """Looks into jobs' folders; `base` are the models that a path may be of by another name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def of_job(self, job: JobRow, tune: FineTuneRow | None, base: Sequence[ModelView]) -> ModelView:
        """A finished job's model, with those of its stages."""
        folder, spec = self.settings.folder(job.id), JobSpec.model_validate(job.spec)
        created = job.finished_at or job.updated_at
        name = name_of(job, tune)
        return ModelView(
            id=name,
            created=unix(created),
            owned_by=OWNER,
            name=job.name,
            path=str(folder.model),
            created_at=created,
            stages=[
                StageModelView(
                    stage=stage.name,
                    type=stage.type,
                    path=str(folder.stage_model(stage.name)),
                    model=None if isinstance(stage, RewardStage) else f"{name}/{stage.name}",
                )
                for stage in spec.stages
            ],
            base=origin(spec, job.id, self.settings, base),
            chat=transcript_of(folder.model).learns_messages,
        )

    def of_stage(
        self, job: JobRow, tune: FineTuneRow | None, stage: str, base: Sequence[ModelView]
    ) -> ModelView | None:
        """The model that one of a finished job's stages left; None when it left none that speaks."""
        whole, spec = self.of_job(job, tune, base), until(job, stage)
        for part in whole.stages:
            if part.stage == stage and part.model is not None and spec is not None:
                changes: dict[str, object] = {
                    "id": part.model,
                    "name": f"{job.name}, stage {stage}",
                    "path": part.path,
                    "stages": [],
                    "base": origin(spec, job.id, self.settings, base),
                    "chat": transcript_of(Path(part.path)).learns_messages,
                }
                return whole.model_copy(update=changes)
        return None

    def of_checkpoint(
        self,
        job: JobRow,
        tune: FineTuneRow | None,
        stage: str,
        step: int,
        base: Sequence[ModelView],
    ) -> ModelView | None:
        """A checkpoint that is kept; None when there is none, or it is no model that speaks."""
        folder, spec = self.settings.folder(job.id), until(job, stage)
        path = folder.checkpoints / folder_name(stage, step)
        if spec is None or isinstance(spec.stages[-1], RewardStage) or not path.is_dir():
            return None
        found = listed(path)
        if found.fault is not None:
            return None
        tokenizer = tokenizer_folder(folder, spec, spec.stages[-1])
        return ModelView(
            id=checkpoint_name(name_of(job, tune), stage, step),
            created=unix(found.saved_at),
            owned_by=OWNER,
            name=f"{job.name}, step {step} of stage {stage}",
            path=str(folder.checkpoint_model(found.name)),
            created_at=found.saved_at,
            stages=[],
            base=origin(spec, job.id, self.settings, base),
            chat=transcript_of(tokenizer).learns_messages,
        )


def name_of(job: JobRow, tune: FineTuneRow | None) -> str:
    return job.id if tune is None else model_name(job.id, tune.model, tune.suffix)


def until(job: JobRow, stage: str) -> JobSpec | None:
    """What the job was to do up to the end of that stage; None when it has no such stage."""
    spec = JobSpec.model_validate(job.spec)
    for place, found in enumerate(spec.stages):
        if found.name == stage:
            return spec.model_copy(update={"stages": spec.stages[: place + 1]})
    return None
