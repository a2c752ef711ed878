"""Models: what finished jobs leave behind, and the base models that the operator named."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from api.openai.names import checkpoint_of, job_of, model_name
from api.openai.objects import Deleted, unix
from api.openai.transcript import transcript_of
from api.schemas import ModelView, Page, StageModelView
from api.service.admission import paths_of
from api.service.base_models import base_folder, base_views
from api.service.caller import Caller
from api.service.exporter import Exporter
from api.service.faults import BadParameter, Conflict, NotFound
from api.service.in_use import require_unregistered
from api.service.origin import origin
from api.service.owned import own_job_or_none
from api.service.registry import Registry
from api.settings import Settings
from api.store.database import Database
from api.store.fine_tunes import page_models
from api.store.jobs import lock_job
from api.store.tables import FineTuneRow, JobRow
from api.store.types import now
from rlhf_service.job import TERMINAL, JobStatus
from rlhf_service.manifest import checkpoint_name
from rlhf_service.spec import JobSpec
from rlhf_service.spec.stages import RewardStage
from rlhf_service.storage import JobFolder


class Models:
    """What the routes under `/v1/models` call."""

    def __init__(
        self, database: Database, registry: Registry, exporter: Exporter, settings: Settings
    ) -> None:
        self.database = database
        self.registry = registry
        self.exporter = exporter
        self.settings = settings

    async def page(self, caller: Caller, after: str | None, limit: int) -> Page[ModelView]:
        """Finished jobs' models, newest first, then the registered ones, then the base models."""
        base = await self._named(caller)
        names = [view.id for view in base]
        if after in names:
            rest = base[names.index(after) + 1 :]
            return Page[ModelView].of(rest, limit, lambda model: model.id)
        async with self.database.read() as session:
            cursor = (
                None if after is None else await own_job_or_none(session, caller, job_of(after))
            )
            if after is not None and cursor is None:
                raise BadParameter(f"there is no model {after!r} to list after", "after")
            before = None if cursor is None else cursor.number
            found = await page_models(session, caller.tenant, before=before, limit=limit + 1)
        views = [await asyncio.to_thread(self._view, job, tune, base) for job, tune in found]
        return Page[ModelView].of([*views, *base], limit, lambda model: model.id)

    async def get(self, caller: Caller, model_id: str) -> ModelView:
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, job_of(model_id))
            tune = None if job is None else await session.get(FineTuneRow, job.id)
        base = await self._named(caller)
        if job is not None and has_model(job):
            return await asyncio.to_thread(self._view, job, tune, base)
        for view in base:
            if view.id == model_id:
                return view
        raise missing(model_id)

    async def folder(self, caller: Caller, model_id: str) -> Path | None:
        """Where a model lies: a finished job's, that of one of its stages (`<job>/<stage>`), a
        registered or a base model, or a checkpoint's, which is written when it is first asked for;
        None when there is no such model.
        """
        if (named := checkpoint_of(model_id)) is not None:
            return await self._checkpoint(caller, *named)
        job_id, _, stage = job_of(model_id).partition("/")
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, job_id)
        if job is not None:
            return stage_folder(self.settings.folder(job.id), job, stage)
        if (registered := await self.registry.find(caller, model_id)) is not None:
            return Path(registered.path)
        return await asyncio.to_thread(base_folder, self.settings, model_id)

    async def delete(self, caller: Caller, model_id: str) -> Deleted:
        """Delete a job's model and those of its stages. Raises Conflict while a job reads one."""
        if await self.registry.forget(caller, model_id):
            return Deleted(id=model_id, object="model")
        if await asyncio.to_thread(base_folder, self.settings, model_id):
            raise Conflict("this is a base model, which is the operator's; it cannot be deleted")
        async with self.database.write() as session:
            found = await own_job_or_none(session, caller, job_of(model_id))
            job = None if found is None else await lock_job(session, found.id)
            if job is None or not has_model(job):
                raise missing(model_id)
            folder = self.settings.folder(job.id)
            alive = select(JobRow).where(JobRow.status.not_in(sorted(TERMINAL)))
            for other in await session.scalars(alive):
                if reads_below(other, folder.root):
                    raise Conflict(f"job {other.id} reads this model; cancel it or wait")
            await require_unregistered(session, folder.root)
            job.model_deleted_at = now()
            stages = [stage.name for stage in JobSpec.model_validate(job.spec).stages]
        for path in (folder.model, *(folder.stage_model(name) for name in stages)):
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        return Deleted(id=model_id, object="model")

    async def _named(self, caller: Caller) -> list[ModelView]:
        """Registered and base models."""
        return [
            *await self.registry.every(caller),
            *await asyncio.to_thread(base_views, self.settings),
        ]

    async def _checkpoint(self, caller: Caller, model: str, stage: str, step: int) -> Path | None:
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, job_of(model))
        if job is None:
            return None
        return await self.exporter.folder(
            self.settings.folder(job.id), checkpoint_name(stage, step)
        )

    def _view(self, job: JobRow, tune: FineTuneRow | None, base: Sequence[ModelView]) -> ModelView:
        folder = self.settings.folder(job.id)
        spec = JobSpec.model_validate(job.spec)
        created = job.finished_at or job.updated_at
        name = model_name(job.id, tune.model, tune.suffix) if tune is not None else job.id
        return ModelView(
            id=name,
            created=unix(created),
            owned_by="rlhf-service",
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


def stage_folder(folder: JobFolder, job: JobRow, stage: str) -> Path | None:
    """Where a stage's model lies, or without one the job's; None when there is none."""
    if not has_model(job):
        return None
    if not stage:
        return folder.model
    known = {own.name for own in JobSpec.model_validate(job.spec).stages}
    return folder.stage_model(stage) if stage in known else None


def has_model(job: JobRow) -> bool:
    return job.status == JobStatus.SUCCEEDED and job.model_deleted_at is None


def missing(model_id: str) -> NotFound:
    return NotFound(
        f"there is no model {model_id!r}; a job's model appears once it succeeded", "model"
    )


def reads_below(job: JobRow, root: Path) -> bool:
    """Whether a job names a file or folder under `root`."""
    spec, real = JobSpec.model_validate(job.spec), os.path.realpath(root)
    return any(Path(os.path.realpath(path)).is_relative_to(real) for _, path, _ in paths_of(spec))
