"""`/v1/jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from rlhf_service.client.call import Call, every, once, one, part, plain, text
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records import (
    Artefact,
    Checkpoint,
    Deleted,
    Job,
    Log,
    SampleSet,
    StepPoint,
)
from rlhf_service.events import StoredEvent
from rlhf_service.job import JobStatus
from rlhf_service.spec import JobSpec

Spec = JobSpec | dict[str, Any]


def at(job_id: str, more: str = "") -> str:
    return f"/v1/jobs/{part(job_id)}{more}"


def as_json(spec: Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json") if isinstance(spec, JobSpec) else spec


def create(spec: Spec, idempotency_key: str | None = None) -> Call[Job]:
    """Submit a job. Sent again after a lost answer it makes no second one; a key of your own makes
    that hold between runs of your program too.
    """
    body, headers = as_json(spec), once(idempotency_key)
    return Call("POST", "/v1/jobs", one(Job), json=body, headers=headers)


def get(job_id: str) -> Call[Job]:
    """One job."""
    return Call("GET", at(job_id), one(Job))


def listed(
    *,
    limit: int = 20,
    after: str | None = None,
    status: JobStatus | Sequence[JobStatus] | None = None,
    labels: dict[str, str] | None = None,
    search: str | None = None,
) -> Call[Page[Job]]:
    """A part of the jobs, newest first."""
    wanted = [status] if isinstance(status, JobStatus) else list(status or ())
    query = {
        "limit": limit,
        "after": after,
        "status": [one_of.value for one_of in wanted] or None,
        "label": [f"{key}={value}" for key, value in (labels or {}).items()] or None,
        "search": search,
    }
    return Call("GET", "/v1/jobs", page(Job), query=query)


def cancel(job_id: str) -> Call[Job]:
    """Stop it for good; its checkpoints stay."""
    return Call("POST", at(job_id, "/cancel"), one(Job))


def pause(job_id: str) -> Call[Job]:
    """Checkpoint and let go of the cluster."""
    return Call("POST", at(job_id, "/pause"), one(Job))


def resume(job_id: str) -> Call[Job]:
    """Queue a paused job; it goes on from its checkpoint."""
    return Call("POST", at(job_id, "/resume"), one(Job))


def retry(
    job_id: str,
    start: Literal["checkpoint", "beginning"] = "checkpoint",
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Try a failed or cancelled job again, as a new job that goes on from its newest checkpoint, or
    from the beginning.
    """
    headers = once(idempotency_key)
    return Call("POST", at(job_id, "/retry"), one(Job), json={"start": start}, headers=headers)


def clone(
    job_id: str, changes: dict[str, Any] | None = None, idempotency_key: str | None = None
) -> Call[Job]:
    """Submit the job once more. `changes` is merged into its specification: objects are merged, None
    takes a field back to its default, lists are replaced whole.
    """
    body, headers = {"changes": changes or {}}, once(idempotency_key)
    return Call("POST", at(job_id, "/clone"), one(Job), json=body, headers=headers)


def delete(job_id: str) -> Call[Deleted]:
    """Delete a job that ended, with its log and files. Refused while its model is kept or read."""
    return Call("DELETE", at(job_id), one(Deleted))


def events(job_id: str, after: int = 0, limit: int = 100) -> Call[Page[StoredEvent]]:
    """A part of the log behind `after`, in order."""
    query = {"after": after, "limit": limit}
    return Call("GET", at(job_id, "/events"), page(StoredEvent), query=query)


def metrics(
    job_id: str, stage: str | None = None, points: int | None = None
) -> Call[list[StepPoint]]:
    """The newest report of every step, in order; of each stage at most `points`, evenly spread."""
    query = {"stage": stage, "points": points}
    return Call("GET", at(job_id, "/metrics"), every(StepPoint), query=query)


def samples(job_id: str, after: int = 0, limit: int = 100) -> Call[Page[SampleSet]]:
    """A part of the responses shown during the job, in order."""
    query = {"after": after, "limit": limit}
    return Call("GET", at(job_id, "/samples"), page(SampleSet), query=query)


def log(
    job_id: str,
    attempt: int | None = None,
    *,
    tail: int | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> Call[Log]:
    """What an attempt's driver printed, the newest's when none is named: all of it, its last `tail`
    lines, or up to `limit` characters behind `offset`.
    """
    query = {"attempt": attempt, "tail": tail, "offset": offset, "limit": limit}
    return Call("GET", at(job_id, "/logs"), one(Log), query=query)


def checkpoints(
    job_id: str, *, limit: int = 100, after: str | None = None
) -> Call[Page[Checkpoint]]:
    """A part of what lies in storage, newest first, whole or not."""
    query = {"limit": limit, "after": after}
    return Call("GET", at(job_id, "/checkpoints"), page(Checkpoint), query=query)


def artefacts(
    job_id: str, path: str = "", *, limit: int = 1000, after: str | None = None
) -> Call[Page[Artefact]]:
    """A part of the job's files, by path; those below `path` alone."""
    query = {"path": path, "limit": limit, "after": after}
    return Call("GET", at(job_id, "/artefacts"), page(Artefact), query=query)


def artefact(job_id: str, path: str) -> str:
    """Where a file of a job's can be fetched."""
    return at(job_id, f"/artefacts/{quote(path)}")


def plan(job_id: str) -> Call[dict[str, Any]]:
    """What was planned when the job was accepted, what it took, and how far apart they are."""
    return Call("GET", at(job_id, "/plan"), plain)


def report(job_id: str) -> Call[dict[str, Any]]:
    """What each stage did and changed; of a running job, so far."""
    return Call("GET", at(job_id, "/report.json"), plain)


def report_page(job_id: str) -> Call[str]:
    """The same as one self-contained HTML page."""
    return Call("GET", at(job_id, "/report.html"), text)
