"""Attempts: opening one, submitting it, closing it."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from api.service.secret import attempt_token, digest, owner_of
from api.settings import Settings
from api.store.tables import AttemptRow, JobRow
from api.store.types import now
from rlhf_service.artefacts.build import SECONDS_VARIABLE, URI_VARIABLE, job_uri
from rlhf_service.launching import GROWTH_VARIABLE, LaunchRequest, submission_id
from rlhf_service.spec import JobSpec
from rlhf_service.spec.rollout import VLLM_PYTHON
from rlhf_service.storage import JobFolder, write_atomically
from rlhf_service.tracing.build import ENDPOINT_VARIABLE, PARENT_VARIABLE


async def open_attempt(session: AsyncSession, job: JobRow, secret: bytes) -> AttemptRow:
    """The job's next attempt, not submitted yet. The job is locked by the caller."""
    job.attempt += 1
    attempt = AttemptRow(
        job_id=job.id,
        number=job.attempt,
        submission_id=submission_id(job.id, job.attempt),
        token_sha256=digest(attempt_token(secret, job.id, job.attempt)),
        created_at=now(),
        refusals=0,
    )
    session.add(attempt)
    await session.flush()
    return attempt


def launch_request(job: JobRow, settings: Settings, secret: bytes) -> LaunchRequest:
    """The submission of the job's newest attempt; the same however often it is asked for."""
    return LaunchRequest(
        job_id=job.id,
        attempt=job.attempt,
        job_name=job.name,
        storage=str(settings.folder(job.id).root),
        events_url=settings.events_url(job.id),
        events_token=attempt_token(secret, job.id, job.attempt),
        owner=owner_of(secret),
        environment=driver_environment(job, settings),
    )


def driver_environment(job: JobRow, settings: Settings) -> dict[str, str]:
    """What the job's processes need to know of the operator's choices."""
    chosen: dict[str, str] = {}
    if settings.otlp_endpoint:
        chosen[ENDPOINT_VARIABLE] = settings.otlp_endpoint
        chosen[PARENT_VARIABLE] = job.traceparent or ""
    if settings.artefacts:
        chosen[URI_VARIABLE] = job_uri(settings.artefacts, job.id)
        chosen[SECONDS_VARIABLE] = f"{settings.artefacts_grace:g}"
    if settings.vllm_python:
        chosen[VLLM_PYTHON] = settings.vllm_python
    if not settings.growth.nothing:
        chosen[GROWTH_VARIABLE] = f"{settings.cluster_growth_seconds:g}"
    return chosen


async def prepare_folder(job: JobRow, folder: JobFolder) -> None:
    """Put the specification where the driver reads it, and take away an old request to stop."""
    spec = JobSpec.model_validate(job.spec).model_dump_json(indent=2)

    def prepare() -> None:
        folder.events.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.spec, spec)
        folder.stop_flag.unlink(missing_ok=True)

    await asyncio.to_thread(prepare)
