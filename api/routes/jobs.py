"""`/v1/jobs`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from api.deps import CallerDep, JobId, Limit, ServicesDep, SignedIn, TrailDep
from api.openai.objects import Deleted
from api.schemas.base import Page
from api.schemas.descent import CloneRequest, RetryRequest
from api.schemas.jobs import JobView, LogsView
from api.service.asked import Asked
from api.service.faults import BadParameter
from api.service.jobs import Accepted
from api.service.logs import LogPart
from api.trail import Trail
from rlhf_service.job import JobStatus
from rlhf_service.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[SignedIn])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Sending the same key and body again answers with the first request's job.",
    ),
]


async def asked(
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    x_stainless_retry_count: Annotated[
        str | None, Header(description="How often the client has sent this before.")
    ] = None,
) -> Asked:
    """Who asks, and whether for the first time."""
    count = x_stainless_retry_count or "0"
    resent = count.isascii() and count.isdigit() and int(count[:9]) > 0
    return Asked(caller=caller, idempotency_key=idempotency_key, resent=resent)


AskedDep = Annotated[Asked, Depends(asked)]


@router.post("", status_code=201)
async def submit_job(
    spec: JobSpec,
    sender: AskedDep,
    parts: ServicesDep,
    response: Response,
    trail: TrailDep,
) -> JobView:
    """Check a job and queue it. 200 instead of 201 when it had been made before: by the same
    Idempotency-Key, or by a request that the client says it sends again.
    """
    return told(await parts.jobs.submit(sender, spec), response, trail)


@router.get("")
async def list_jobs(
    caller: CallerDep,
    parts: ServicesDep,
    after: Annotated[str | None, Query(description="Only jobs older than this one.")] = None,
    limit: Limit = 20,
    status: Annotated[list[JobStatus] | None, Query(description="Only in these.")] = None,
    label: Annotated[list[str] | None, Query(description="Only with this `key=value`.")] = None,
    search: Annotated[
        str, Query(max_length=64, description="Only with this in the name, or first in the id.")
    ] = "",
) -> Page[JobView]:
    """Newest first."""
    return await parts.jobs.page(
        caller, after, limit, status or [], parse_labels(label or []), search
    )


@router.get("/{job_id}")
async def get_job(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> JobView:
    """One job."""
    return await parts.jobs.get(caller, job_id)


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> JobView:
    """Stop it for good. It is `cancelled` once nothing of it is left on the cluster."""
    return await parts.jobs.cancel(caller, job_id)


@router.post("/{job_id}/pause")
async def pause_job(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> JobView:
    """Checkpoint and let go of the cluster."""
    return await parts.jobs.pause(caller, job_id)


@router.post("/{job_id}/resume")
async def resume_job(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> JobView:
    """Queue a paused job; it goes on from its checkpoint."""
    return await parts.jobs.resume(caller, job_id)


@router.post("/{job_id}/retry", status_code=201)
async def retry_job(
    job_id: JobId,
    sender: AskedDep,
    trail: TrailDep,
    parts: ServicesDep,
    response: Response,
    request: RetryRequest | None = None,
) -> JobView:
    """Try a failed or cancelled job again, as a new job that goes on from its newest checkpoint."""
    start = (request or RetryRequest()).start
    return told(await parts.descent.retry(sender, job_id, start), response, trail)


@router.post("/{job_id}/clone", status_code=201)
async def clone_job(
    job_id: JobId,
    sender: AskedDep,
    trail: TrailDep,
    parts: ServicesDep,
    response: Response,
    request: CloneRequest | None = None,
) -> JobView:
    """Submit the job once more, with changes to its specification. It begins at its start."""
    changes = (request or CloneRequest()).changes
    return told(await parts.descent.clone(sender, job_id, changes), response, trail)


@router.delete("/{job_id}")
async def delete_job(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> Deleted:
    """Delete a job that ended: its log at once, its files soon after. 409 while its model is kept or
    something reads its files.
    """
    return await parts.deletion.delete(caller, job_id)


@router.get("/{job_id}/logs")
async def get_logs(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    attempt: Annotated[
        int | None, Query(ge=1, le=10**6, description="The newest when absent.")
    ] = None,
    tail: Annotated[
        int | None, Query(ge=0, le=10**6, description="Only the last lines, this many.")
    ] = None,
    offset: Annotated[
        int | None, Query(ge=0, le=2**53, description="Only what stands behind this character.")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=2**24, description="At most this many characters.")
    ] = None,
) -> LogsView:
    """What the driver printed. To follow it: ask again with `offset` = `next_offset`."""
    return await parts.jobs.logs(caller, job_id, attempt, LogPart(tail, offset, limit))


def told(accepted: Accepted, response: Response, trail: Trail) -> JobView:
    """The job, with where it is, and 200 when the request had been made before."""
    trail.object_id = accepted.job.id
    if not accepted.created:
        response.status_code = 200
    response.headers["location"] = accepted.job.links.self
    return accepted.job


def parse_labels(texts: list[str]) -> dict[str, str]:
    """`key=value` each."""
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise BadParameter(f"{text!r} is not of the form key=value", "label")
        found[key] = value
    return found
