"""`/v1/fine_tuning/jobs`, as the OpenAI API has it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.deps import CallerDep, JobId, ServicesDep, SignedIn, TrailDep
from api.openai.objects import FineTuningJob, TuneCheckpoint, TuneEvent
from api.openai.request import CreateJob
from api.routes.jobs import AskedDep
from api.schemas.base import Page
from api.service.faults import BadParameter

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["openai"], dependencies=[SignedIn])

Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]


@router.post("", status_code=201)
async def create_fine_tuning_job(
    request: CreateJob,
    parts: ServicesDep,
    response: Response,
    trail: TrailDep,
    sender: AskedDep,
) -> FineTuningJob:
    """Check the files and queue a job. 200 instead of 201 when it had been made before: by the same
    Idempotency-Key, or by a request that the client says it sends again.
    """
    tuning = await parts.fine_tuning.create(request, sender)
    trail.object_id = tuning.job.id
    if not tuning.created:
        response.status_code = 200
    return tuning.job


def metadata_filter(request: Request) -> dict[str, str] | None:
    """`metadata[key]=value` each; None for `metadata=null`, which asks for jobs without any."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if named := re.fullmatch(r"metadata\[(.{1,64})\]", name, re.DOTALL):
            found[named[1]] = value
    if "metadata" in request.query_params:
        if request.query_params["metadata"] != "null" or found:
            raise BadParameter("must be null, or metadata[key]=value", "metadata")
        return None
    return found


METADATA: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "required": False,
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[key]=value` each; `metadata=null` for jobs without any.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}


@router.get("", openapi_extra=METADATA)
async def list_fine_tuning_jobs(
    caller: CallerDep,
    parts: ServicesDep,
    metadata: Annotated[dict[str, str] | None, Depends(metadata_filter)],
    after: Annotated[str | None, Query(description="Only jobs older than this one.")] = None,
    limit: Limit = 20,
) -> Page[FineTuningJob]:
    """Newest first."""
    return await parts.fine_tuning.page(caller, after, limit, metadata)


@router.get("/{job_id}")
async def get_fine_tuning_job(
    job_id: JobId, caller: CallerDep, parts: ServicesDep
) -> FineTuningJob:
    """One job."""
    return await parts.fine_tuning.get(caller, job_id)


@router.post("/{job_id}/cancel")
async def cancel_fine_tuning_job(
    job_id: JobId, caller: CallerDep, parts: ServicesDep
) -> FineTuningJob:
    """Stop it for good."""
    return await parts.fine_tuning.cancel(caller, job_id)


@router.post("/{job_id}/pause")
async def pause_fine_tuning_job(
    job_id: JobId, caller: CallerDep, parts: ServicesDep
) -> FineTuningJob:
    """Checkpoint and let go of the cluster."""
    return await parts.fine_tuning.pause(caller, job_id)


@router.post("/{job_id}/resume")
async def resume_fine_tuning_job(
    job_id: JobId, caller: CallerDep, parts: ServicesDep
) -> FineTuningJob:
    """Queue a paused job; it goes on from its checkpoint."""
    return await parts.fine_tuning.resume(caller, job_id)


@router.get("/{job_id}/events")
async def list_fine_tuning_events(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only events older than this one.")] = None,
    limit: Limit = 20,
) -> Page[TuneEvent]:
    """Newest first."""
    return await parts.fine_tuning.events(caller, job_id, after, limit)


@router.get("/{job_id}/checkpoints")
async def list_fine_tuning_checkpoints(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only checkpoints older than this one.")] = None,
    limit: Limit = 10,
) -> Page[TuneCheckpoint]:
    """Newest first."""
    return await parts.fine_tuning.checkpoints(caller, job_id, after, limit)
