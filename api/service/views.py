"""Rows as public records."""

from __future__ import annotations

from collections.abc import Sequence

from api.schemas.jobs import AttemptView, JobLinks, JobView, ParentView, Progress
from api.schemas.keys import KeyView
from api.service.caller import including
from api.store.tables import AttemptRow, JobRow, KeyRow
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.spec import JobSpec


def job_view(job: JobRow, attempts: Sequence[AttemptRow]) -> JobView:
    """The job with its attempts, oldest first."""
    spec = JobSpec.model_validate(job.spec)
    base = f"/v1/jobs/{job.id}"
    return JobView(
        id=job.id,
        name=job.name,
        status=JobStatus(job.status),
        reason=None if job.reason is None else StopReason(job.reason),
        message=job.message,
        progress=progress(job),
        attempts=[attempt_view(attempt) for attempt in attempts if attempt.job_id == job.id],
        labels=spec.labels,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        first_seq=job.first_seq,
        last_seq=job.last_seq,
        result=job.result,
        parent=parent_view(job),
        spec=spec,
        links=JobLinks(
            self=base,
            events=f"{base}/events",
            stream=f"{base}/stream",
            metrics=f"{base}/metrics",
            samples=f"{base}/samples",
            logs=f"{base}/logs",
            checkpoints=f"{base}/checkpoints",
            artefacts=f"{base}/artefacts",
            report=f"{base}/report.html",
            plan=f"{base}/plan",
        ),
    )


def parent_view(job: JobRow) -> ParentView | None:
    """The job that it was made from."""
    if job.parent_id is None:
        return None
    return ParentView.model_validate({"id": job.parent_id, "kind": job.parent_kind})


def progress(job: JobRow) -> Progress:
    """How far the job's current stage is."""
    moving = job.status == JobStatus.RUNNING and job.step_seconds is not None
    return Progress(
        stage=job.stage,
        step=job.step,
        steps=job.steps,
        eta_seconds=round((job.steps - job.step) * (job.step_seconds or 0.0), 1)
        if moving
        else None,
        metrics=job.metrics,
    )


def attempt_view(attempt: AttemptRow) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        submission_id=attempt.submission_id,
        created_at=attempt.created_at,
        submitted_at=attempt.submitted_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
    )


def key_view(key: KeyRow) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        tenant=key.tenant,
        prefix=key.prefix,
        scopes=including(key.scopes.split()),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
