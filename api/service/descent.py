"""Jobs made from other jobs: tried again, or cloned with changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from api.merge_patch import merge_patch
from api.service.asked import Asked
from api.service.caller import Caller
from api.service.faults import Conflict, InvalidSpec
from api.service.inheritance import inherit
from api.service.jobs import Accepted, Jobs
from api.service.owned import own_job
from api.settings import Settings
from api.store.database import Database
from api.store.events import append_own
from api.store.tables import FineTuneRow, JobRow
from api.suggest import suggestion
from rlhf_service.events import Log
from rlhf_service.explain import explain
from rlhf_service.job import JobStatus
from rlhf_service.spec import JobSpec

Start = Literal["checkpoint", "beginning"]
AGAIN = (JobStatus.FAILED, JobStatus.CANCELLED)


class Descent:
    """What `/v1/jobs/{id}/retry` and `clone` call."""

    def __init__(self, database: Database, jobs: Jobs, settings: Settings) -> None:
        self.database = database
        self.jobs = jobs
        self.settings = settings

    async def retry(self, asked: Asked, job_id: str, start: Start) -> Accepted:
        """A new job of the same specification that goes on where a failed or cancelled one stopped."""
        job, tune = await self._find(asked.caller, job_id)
        status = JobStatus(job.status)
        if status not in AGAIN:
            remedy = "resume it" if status is JobStatus.PAUSED else "clone it"
            raise Conflict(
                f"the job is {status}; only one that failed or was cancelled is tried "
                f"again: {remedy}"
            )
        spec = JobSpec.model_validate(job.spec)
        made_id = None

        async def beside(session: AsyncSession, made: JobRow) -> None:
            nonlocal made_id
            made_id, made.parent_id, made.parent_kind = made.id, job_id, "retry"
            said = "begins at the start"
            if start == "checkpoint":
                old, new = self.settings.folder(job_id), self.settings.folder(made.id)
                said = str(await asyncio.to_thread(inherit, old, new, spec))
            if tune is not None:
                session.add(tuned_again(tune, made))
            await append_own(session, made, Log(message=f"tries {job_id} again; {said}"))

        body, accepted = digest(f"retry:{job_id}:{start}"), None
        try:
            accepted = await self.jobs.submit(asked, spec, body=body, beside=beside)
        finally:
            if made_id is not None and (accepted is None or accepted.job.id != made_id):
                # It was not stored after all, but what it takes over had been laid out.
                root = self.settings.folder(made_id).root
                await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
        return accepted

    async def clone(self, asked: Asked, job_id: str, changes: Mapping[str, Any]) -> Accepted:
        """A new job, its specification changed by a JSON merge patch. Raises InvalidSpec."""
        job, _ = await self._find(asked.caller, job_id)
        spec = changed(job.spec, changes)

        async def beside(session: AsyncSession, made: JobRow) -> None:
            made.parent_id, made.parent_kind = job_id, "clone"
            await append_own(session, made, Log(message=f"a clone of {job_id}"))

        body = digest(f"clone:{job_id}:{json.dumps(changes, sort_keys=True)}")
        return await self.jobs.submit(asked, spec, body=body, beside=beside)

    async def _find(self, caller: Caller, job_id: str) -> tuple[JobRow, FineTuneRow | None]:
        async with self.database.read() as session:
            job = await own_job(session, caller, job_id)
            return job, await session.get(FineTuneRow, job_id)


def changed(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> JobSpec:
    """The specification with the changes. Raises InvalidSpec naming every wrong field."""
    merged = merge_patch(spec, changes)
    try:
        return JobSpec.model_validate(merged)
    except ValidationError as fault:
        raise InvalidSpec.of(
            [explain(dict(e), merged, suggestion) for e in fault.errors()]
        ) from None


def tuned_again(tune: FineTuneRow, made: JobRow) -> FineTuneRow:
    """The same request, of another job."""
    return FineTuneRow(
        job_id=made.id,
        model=tune.model,
        suffix=tune.suffix,
        training_file=tune.training_file,
        validation_file=tune.validation_file,
        method=tune.method,
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
