"""`/v1/internal`: what drivers call."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import AttemptDep, JobId, ServicesDep
from api.schemas.events import EventBatch, EventReceipt

router = APIRouter(prefix="/v1/internal", tags=["internal"])


@router.post("/jobs/{job_id}/events")
async def post_events(
    job_id: JobId, batch: EventBatch, attempt: AttemptDep, parts: ServicesDep
) -> EventReceipt:
    """Store a driver's events, each once however often it is posted."""
    return await parts.events.post(job_id, attempt, batch)
