"""Fine-tuning jobs: jobs that were asked for in the OpenAI API's words."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from api.openai.mapping import Dataset, Mapped, param_of, to_spec
from api.openai.objects import FineTuningJob, TuneCheckpoint, TuneEvent
from api.openai.request import CreateJob
from api.openai.rows import Conversion
from api.openai.transcript import transcript_of
from api.openai.views import event_id, fine_tuning_job, tune_checkpoint, tune_event
from api.schemas.base import Page
from api.service.asked import Asked
from api.service.base_models import context_of
from api.service.caller import Caller
from api.service.faults import BadParameter, NotFound
from api.service.files import Files
from api.service.jobs import Jobs
from api.service.models import Models
from api.store.database import Database
from api.store.events import stored_event
from api.store.files import find_file
from api.store.fine_tunes import (
    Tuned,
    events_before,
    find_fine_tune,
    page_fine_tunes,
    reports_at,
)
from api.store.tables import FineTuneRow, JobRow
from rlhf_service.errors import UserError
from rlhf_service.explain import explain
from rlhf_service.spec import FolderModel, ScratchModel


@dataclass(frozen=True, slots=True)
class Tuning:
    """The answer to a request. `created` is False when it had been made before."""

    job: FineTuningJob
    created: bool


class FineTuning:
    """What the routes under `/v1/fine_tuning/jobs` call."""

    def __init__(self, database: Database, jobs: Jobs, files: Files, models: Models) -> None:
        self.database = database
        self.jobs = jobs
        self.files = files
        self.models = models

    async def create(self, request: CreateJob, asked: Asked) -> Tuning:
        """Check, convert and queue. Raises a UserError or Fault that names the parameter."""
        digest = digest_of(request)
        if (job_id := await self.jobs.earlier(asked, digest)) is not None:
            return Tuning(await self.get(asked.caller, job_id), created=False)
        try:
            mapped = await self._map(asked.caller, request)

            tenant = asked.caller.tenant

            async def beside(session: AsyncSession, job: JobRow) -> None:
                for param in ("training_file", "validation_file"):
                    file_id = getattr(request, param)
                    if file_id and not await find_file(session, tenant, file_id, lock=True):
                        raise no_file(file_id, param)
                session.add(fine_tune_row(job, request, mapped))

            accepted = await self.jobs.submit(asked, mapped.spec, body=digest, beside=beside)
        except UserError as fault:
            raise renamed(fault) from fault
        return Tuning(await self.get(asked.caller, accepted.job.id), accepted.created)

    async def get(self, caller: Caller, job_id: str) -> FineTuningJob:
        return fine_tuning_job(*await self._find(caller, job_id))

    async def page(
        self, caller: Caller, after: str | None, limit: int, metadata: Mapping[str, str] | None
    ) -> Page[FineTuningJob]:
        """Newest first. Metadata None: those that have none."""
        async with self.database.read() as session:
            cursor = None if after is None else await find_fine_tune(session, caller.tenant, after)
            if after is not None and cursor is None:
                raise BadParameter(f"there is no fine-tuning job {after!r} to list after", "after")
            before = None if cursor is None else cursor[0].number
            found = await page_fine_tunes(
                session, caller.tenant, before=before, limit=limit + 1, metadata=metadata
            )
        views = [fine_tuning_job(job, tune) for job, tune in found]
        return Page[FineTuningJob].of(views, limit, lambda job: job.id)

    async def cancel(self, caller: Caller, job_id: str) -> FineTuningJob:
        await self._find(caller, job_id)
        await self.jobs.cancel(caller, job_id)
        return await self.get(caller, job_id)

    async def pause(self, caller: Caller, job_id: str) -> FineTuningJob:
        await self._find(caller, job_id)
        await self.jobs.pause(caller, job_id)
        return await self.get(caller, job_id)

    async def resume(self, caller: Caller, job_id: str) -> FineTuningJob:
        await self._find(caller, job_id)
        await self.jobs.resume(caller, job_id)
        return await self.get(caller, job_id)

    async def events(
        self, caller: Caller, job_id: str, after: str | None, limit: int
    ) -> Page[TuneEvent]:
        """Newest first, as the OpenAI API tells them."""
        await self._find(caller, job_id)
        before = None if after is None else seq_of(after, event_id(job_id, 0)[:-1])
        async with self.database.read() as session:
            rows = await events_before(session, job_id, before, limit + 1)
        events = [tune_event(stored_event(row)) for row in rows]
        return Page[TuneEvent].of(events, limit, lambda event: event.id)

    async def checkpoints(
        self, caller: Caller, job_id: str, after: str | None, limit: int
    ) -> Page[TuneCheckpoint]:
        """Newest first."""
        job, tune = await self._find(caller, job_id)
        before = None if after is None else seq_of(after, f"ftckpt_{job_id}-")
        async with self.database.read() as session:
            rows = await events_before(session, job_id, before, limit + 1, ("checkpoint",))
            reports = await reports_at(session, job_id, rows)
        views = [tune_checkpoint(stored_event(row), job, tune, reports) for row in rows]
        return Page[TuneCheckpoint].of(views, limit, lambda checkpoint: checkpoint.id)

    async def _map(self, caller: Caller, request: CreateJob) -> Mapped:
        folder, model = await self._model(caller, request)
        transcript = await asyncio.to_thread(transcript_of, folder)
        conversion = Conversion(request.how.type, transcript)
        training = await self._dataset(caller, request.training_file, conversion, "training_file")
        validation = None
        if request.validation_file is not None:
            validation = await self._dataset(
                caller, request.validation_file, conversion, "validation_file"
            )
        context = None if folder is None else await asyncio.to_thread(context_of, folder)
        return to_spec(request, model, training, validation, context)

    async def _model(
        self, caller: Caller, request: CreateJob
    ) -> tuple[Path | None, FolderModel | ScratchModel]:
        """Where the base model lies, None for one that has yet to be made, and its section."""
        own = request.rlhf.model
        if request.model == "scratch":
            try:
                model = ScratchModel.model_validate(own or {})
            except ValidationError as fault:
                first = explain(dict(fault.errors()[0]), own, lambda _: "")
                where = f"rlhf.model.{first['field']}" if first["field"] else "rlhf.model"
                raise BadParameter(f"{where}: {first['message']}", where) from None
            return (None if model.tokenizer is None else Path(model.tokenizer)), model
        if own is not None:
            raise BadParameter("rlhf.model: only says what 'scratch' is like", "rlhf.model")
        folder = await self.models.folder(caller, request.model)
        if folder is None:
            raise BadParameter(
                f"there is no model {request.model!r}; name a finished model, one of "
                "GET /v1/models, or 'scratch'",
                "model",
            )
        return folder, FolderModel(path=str(folder))

    async def _dataset(
        self, caller: Caller, file_id: str, conversion: Conversion, param: str
    ) -> Dataset:
        async with self.database.read() as session:
            row = await find_file(session, caller.tenant, file_id)
        if row is None:
            raise no_file(file_id, param)
        return await asyncio.to_thread(conversion.convert, self.files.path(row.id), param)

    async def _find(self, caller: Caller, job_id: str) -> Tuned:
        async with self.database.read() as session:
            found = await find_fine_tune(session, caller.tenant, job_id)
        if found is None:
            raise NotFound(f"there is no fine-tuning job {job_id!r}")
        return found


def digest_of(request: CreateJob) -> str:
    """Of what was asked, whichever order it was written in."""
    asked = json.dumps(request.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return hashlib.sha256(f"fine_tuning:{asked}".encode()).hexdigest()


def no_file(file_id: str, param: str) -> BadParameter:
    return BadParameter(f"there is no file {file_id!r}; upload it first", param)


def renamed(fault: UserError) -> UserError:
    """The same fault under the request's own parameter: fields of the JobSpec are not the user's."""
    known = fault.field is None or fault.field.startswith(
        ("method.", "rlhf.", "training_", "valid")
    )
    param = fault.field if known else param_of(fault.field)
    return type(fault)(fault.message, param)


def fine_tune_row(job: JobRow, request: CreateJob, mapped: Mapped) -> FineTuneRow:
    return FineTuneRow(
        job_id=job.id,
        model=request.model,
        suffix=request.suffix,
        training_file=request.training_file,
        validation_file=request.validation_file,
        method=mapped.method,
    )


def seq_of(cursor: str, prefix: str) -> int:
    """The number at the end of an event's or checkpoint's id. Raises BadParameter."""
    number = cursor.removeprefix(prefix)
    if not cursor.startswith(prefix) or not number.isascii() or not number.isdigit():
        raise BadParameter(f"{cursor!r} is none of this job's", "after")
    return min(int(number[:18]), 2**53)
