"""The rows of a new job."""

from __future__ import annotations

import secrets
import time

from sqlalchemy.ext.asyncio import AsyncSession

from api.observe import context
from api.service.admission import demand
from api.service.caller import Caller
from api.service.inputs import Input
from api.service.owned import own_job_or_none
from api.service.quotas import check_room
from api.store.database import Database
from api.store.moves import move, open_job
from api.store.queue_tables import DependencyRow
from api.store.tables import JobInputRow, JobRow, LabelRow
from api.store.types import now
from rlhf_service.errors import SpecError
from rlhf_service.job import JobStatus
from rlhf_service.spec import JobSpec


async def new_job(
    session: AsyncSession, database: Database, caller: Caller, spec: JobSpec, note: str
) -> JobRow:
    """Queue it, with all its rows but those of its request. Raises QuotaExceeded, SpecError."""
    needs, moment = demand(spec), now()
    await check_room(database, session, caller, needs)
    job = JobRow(
        id=new_job_id(),
        tenant=caller.tenant,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        cpus=needs.cpus,
        gpus=needs.gpus,
        priority=spec.priority,
        preemptible=spec.preemptible,
        status=JobStatus.VALIDATING,
        message="",
        version=1,
        attempt=0,
        deaths=0,
        traceparent=context.traceparent.get(),
        first_seq=1,
        last_seq=0,
        control_seq=0,
        step=0,
        steps=0,
        created_at=moment,
        updated_at=moment,
    )
    session.add(job)
    await session.flush()
    session.add_all(
        LabelRow(job_id=job.id, key=key, value=value) for key, value in spec.labels.items()
    )
    for place, needed in enumerate(dict.fromkeys(spec.after)):
        await check_needed(session, caller, needed, f"after[{place}]")
        session.add(DependencyRow(job_id=job.id, needs=needed))
    await open_job(session, job)
    await move(session, job, JobStatus.QUEUED, message=note)
    return job


async def check_needed(session: AsyncSession, caller: Caller, job_id: str, field: str) -> None:
    """The job can still be waited for. Raises SpecError."""
    needed = await own_job_or_none(session, caller, job_id)
    if needed is None:
        raise SpecError(f"there is no job {job_id!r}; name one that was submitted before", field)
    status = JobStatus(needed.status)
    if status.is_terminal and status is not JobStatus.SUCCEEDED:
        raise SpecError(f"{job_id} has {status}; what waits for it would never start", field)


def new_job_id() -> str:
    """`job-` + milliseconds + randomness, lower-case hex: sorts by time, fits a Kubernetes name."""
    return f"job-{int(time.time() * 1000):011x}{secrets.token_hex(4)}"


def input_row(job: JobRow, found: Input) -> JobInputRow:
    return JobInputRow(
        job_id=job.id,
        field=found.field,
        kind=found.kind,
        path=found.path,
        sha256=found.sha256,
        bytes=found.bytes,
        source=found.source,
    )
