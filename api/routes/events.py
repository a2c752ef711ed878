"""A job's log: `/v1/jobs/{id}/events`, `stream`, `metrics`, `samples`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.deps import AfterSeq, CallerDep, JobId, Limit, ServicesDep, SignedIn
from api.schemas.base import Page
from api.schemas.events import Metrics, SampleSet
from api.service.faults import BadParameter
from rlhf_service.events import StoredEvent

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["events"], dependencies=[SignedIn])


@router.get("/events")
async def list_events(
    job_id: JobId, caller: CallerDep, parts: ServicesDep, after: AfterSeq = 0, limit: Limit = 100
) -> Page[StoredEvent]:
    """Entries in order; the next part: `after` = `last_id`."""
    return await parts.events.page(caller, job_id, after, limit)


async def cursor(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    after: AfterSeq = 0,
    last_event_id: Annotated[
        str | None, Header(description="Number of the last event that the client has.")
    ] = None,
) -> int:
    """Where to go on: the header of a client that reconnects, else the query."""
    await parts.streams.admit(caller, job_id)
    if last_event_id is None or last_event_id == "":
        return after
    if not re.fullmatch(r"[0-9]{1,15}", last_event_id):
        raise BadParameter(f"{last_event_id!r} is not the number of an event", "Last-Event-ID")
    return int(last_event_id)


class EventStream(StreamingResponse):
    """Server-sent events; what makes them is closed as soon as the client is gone."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(frames, headers={"x-accel-buffering": "no"})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()


@router.get("/stream", status_code=200, response_class=EventStream)
async def stream_events(
    job_id: JobId, parts: ServicesDep, after: Annotated[int, Depends(cursor)]
) -> EventStream:
    """The log live. `id` is the event's seq; send it back as `Last-Event-ID` to go on from there.

    Besides the job's events: `reset` with the numbers of the `first` and the `last` entry kept, when
    the cursor is not in the log, which is then told from its beginning; `reconnect` when the stream
    has lived long enough or the server stops; `end` when all is told.
    """
    return EventStream(parts.streams.follow(job_id, after))


@router.get("/metrics")
async def get_metrics(
    job_id: JobId,
    caller: CallerDep,
    parts: ServicesDep,
    stage: Annotated[str | None, Query(description="Only of this stage.")] = None,
    points: Annotated[
        int | None,
        Query(ge=2, le=100_000, description="At most this many of each stage, evenly spread."),
    ] = None,
) -> Metrics:
    """The newest report of each step."""
    return await parts.events.metrics(caller, job_id, stage, points)


@router.get("/samples")
async def list_samples(
    job_id: JobId, caller: CallerDep, parts: ServicesDep, after: AfterSeq = 0, limit: Limit = 100
) -> Page[SampleSet]:
    """Responses shown during the job, in order."""
    return await parts.events.samples(caller, job_id, after, limit)
