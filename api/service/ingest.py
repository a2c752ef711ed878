"""Takes a driver's events into the job's log and into the job itself."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from api.service.measured import keep_actual
from api.store.events import append_record, unknown_records
from api.store.jobs import find_attempt
from api.store.moves import move
from api.store.tables import AttemptRow, JobRow
from api.store.types import now
from api.store.webhooks import announce, listeners
from rlhf_service.events import (
    Event,
    EventRecord,
    JobStopped,
    Recovered,
    RoleStopped,
    StageStarted,
    StepCompleted,
)
from rlhf_service.job import JobStatus, can_move
from rlhf_service.reports import PpoReport, StepReport

SMOOTHING = 0.2
"""Weight of the newest step in the smoothed seconds of a step."""


async def take_in(session: AsyncSession, job: JobRow, records: Sequence[EventRecord]) -> int:
    """Store what is new and let it show on the locked job. Returns how many were new.

    A log whose beginning was dropped takes nothing any more: what is new cannot be told.
    """
    if job.first_seq > 1:
        return 0
    fresh = await unknown_records(session, job, records)
    attempts: dict[int, AttemptRow | None] = {}
    webhooks = await listeners(session, job) if fresh else []
    for record in fresh:
        announce(session, webhooks, append_record(session, job, record))
        if record.attempt not in attempts:
            attempts[record.attempt] = await find_attempt(session, job.id, record.attempt)
        attempt = attempts[record.attempt]
        if attempt is not None:
            await _reflect(session, job, attempt, record.event)
    if any(isinstance(record.event, JobStopped) for record in fresh):
        await keep_actual(session, job.id)
    if fresh:
        job.updated_at = now()
    return len(fresh)


async def _reflect(session: AsyncSession, job: JobRow, attempt: AttemptRow, event: Event) -> None:
    """What the event says about the job. An older attempt's events are history only."""
    if isinstance(event, JobStopped):
        attempt.stopped = event.model_dump(mode="json")
    if attempt.number != job.attempt or JobStatus(job.status).is_terminal:
        return
    if isinstance(event, StageStarted):
        job.stage = event.stage
        job.step, job.steps = event.from_step, event.steps
        job.step_seconds = None
    if isinstance(event, StepCompleted):
        seconds, before = step_seconds(event.report), job.step_seconds
        job.step_seconds = seconds if before is None else before + SMOOTHING * (seconds - before)
        job.stage = event.stage
        job.step, job.steps = event.step, event.steps
        job.metrics = event.report.model_dump(mode="json")
    if isinstance(event, StageStarted | StepCompleted) and attempt.trained_at is None:
        attempt.trained_at = now()
    wanted = wanted_status(event, JobStatus(job.status), attempt.trained_at is not None)
    if wanted is not None and can_move(JobStatus(job.status), wanted[0]):
        await move(session, job, wanted[0], message=wanted[1])


def wanted_status(
    event: Event, status: JobStatus, has_trained: bool
) -> tuple[JobStatus, str] | None:
    """The status and message that an event of the current attempt asks for."""
    match event:
        case StageStarted() | StepCompleted() if status is not JobStatus.RUNNING:
            return JobStatus.RUNNING, ""
        case RoleStopped(stalled=True):
            return JobStatus.STALLED, f"{event.role} stalled in {event.phase}: {event.message}"
        case RoleStopped():
            return JobStatus.RECOVERING, f"{event.role} died in {event.phase}: {event.message}"
        case Recovered() if has_trained and status is not JobStatus.RUNNING:
            return JobStatus.RUNNING, f"{event.role}: {event.message}"
        case Recovered() if status is JobStatus.STALLED:
            return JobStatus.RECOVERING, f"{event.role}: {event.message}"
    return None


def step_seconds(report: StepReport) -> float:
    """Wall-clock seconds of the step."""
    return report.seconds.total if isinstance(report, PpoReport) else report.seconds
