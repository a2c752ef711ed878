"""Models: what finished jobs leave behind, and the base models that the operator named."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from sqlalchemy import select

from api.openai.names import checkpoint_of, job_of
from api.openai.objects import Deleted
from api.schemas.base import Page
from api.schemas.models import ModelView
from api.service.admission import paths_of
from api.service.base_models import base_folder, base_views
from api.service.caller import Caller
from api.service.exporter import Exporter
from api.service.faults import BadParameter, Conflict, NotFound
from api.service.in_use import require_unregistered
from api.service.model_views import ModelViews
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
        self.views = ModelViews(settings)

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
        views = [await asyncio.to_thread(self.views.of_job, job, tune, base) for job, tune in found]
        return Page[ModelView].of([*views, *base], limit, lambda model: model.id)

    async def get(self, caller: Caller, model_id: str) -> ModelView:
        """By its own name, or its job's; stages' models and checkpoints by theirs."""
        saved = checkpoint_of(model_id)
        owner, _, stage = job_of(saved[0] if saved else model_id).partition("/")
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, owner)
            tune = None if job is None else await session.get(FineTuneRow, job.id)
        base = await self._named(caller)

        def look() -> ModelView | None:
            if job is not None and saved is not None:
                return self.views.of_checkpoint(job, tune, saved[1], saved[2], base)
            if job is None or not has_model(job):
                return next((view for view in base if view.id == model_id), None)
            if stage:
                return self.views.of_stage(job, tune, stage, base)
            return self.views.of_job(job, tune, base)

        if (found := await asyncio.to_thread(look)) is None:
            raise missing(model_id)
        return found

    async def folder(self, caller: Caller, model_id: str) -> Path | None:
        """Where a model lies: a finished job's, that of one of its stages (`<job>/<stage>`), a
        registered or a base model, or a checkpoint's, which is written when it is first asked for;
        None when there is no such model.
        """
        saved = checkpoint_of(model_id)
        job_id, _, stage = job_of(saved[0] if saved else model_id).partition("/")
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, job_id)
        if saved is not None:
            name = checkpoint_name(*saved[1:])
            return None if job is None else await self.saved_folder(job, name)
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

    async def saved_folder(self, job: JobRow, checkpoint: str) -> Path | None:
        """Where a checkpoint's model lies, or with an empty name the job's."""
        folder = self.settings.folder(job.id)
        if checkpoint:
            return await self.exporter.folder(folder, checkpoint)
        return stage_folder(folder, job, "")


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
