"""What it means that an attempt is no longer on the cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.events import JobStopped
from rlhf_service.job import JobStatus, StopReason

LOG_TAIL_LINES = 15
LOG_TAIL_CHARACTERS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an attempt whose driver is gone."""

    has_result: bool
    """The completion record is written."""
    stopped: JobStopped | None
    """The driver's last word, when it had one."""
    leftovers: Sequence[str] = ()
    """Actors and placement groups of the job that still live."""
    overdue: bool = False
    """They have had their time to go."""
    departed: bool = False
    """A machine of it was to be vacated by plan (a drained node, a pre-emption with notice)."""
    how: str = "its driver ended without a last word"
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be said yet."""

    message: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The job goes to `status`."""

    status: JobStatus
    reason: StopReason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt is due."""

    message: str
    died: bool = True
    """Counts against `recovery.max_attempts`; false for an end that the cluster had planned."""


Verdict = Wait | Settle | Retry


def settle(status: JobStatus, deaths: int, max_attempts: int, facts: Facts) -> Verdict:
    """What becomes of a job in `status` that has had `deaths` attempts die before this one."""
    if facts.has_result:
        return Settle(JobStatus.SUCCEEDED, StopReason.COMPLETED)
    if facts.leftovers and (status is JobStatus.CANCELLING or not facts.overdue):
        return Wait(f"waiting for {', '.join(facts.leftovers)} to go")
    if status is JobStatus.CANCELLING:
        return Settle(JobStatus.CANCELLED, StopReason.CANCELLED_BY_USER)
    stopped = facts.stopped
    if stopped is not None and not stopped.retryable:
        if stopped.reason.to_status() is JobStatus.FAILED:
            return Settle(JobStatus.FAILED, stopped.reason, stopped.message)
        if stopped.reason is StopReason.CANCELLED_BY_USER and status is not JobStatus.PAUSING:
            return Settle(JobStatus.CANCELLING, message="its driver was told to stop")
    by_itself = stopped is not None and stopped.reason.to_status() is JobStatus.PAUSED
    message = stopped.message if stopped is not None and by_itself else ""
    if status is JobStatus.PAUSING:
        return Settle(JobStatus.PAUSED, message=message)
    if by_itself:
        # Passes through pausing, as every pause of a running job does.
        return Settle(JobStatus.PAUSING, message=message)
    if stopped is not None and stopped.reason is StopReason.COMPLETED:
        cause = "its driver said completed but wrote no completion record"
    else:
        cause = f"{stopped.reason}: {stopped.message}" if stopped else facts.how
    # Nobody asked for a pause or an end, and yet its driver was told to stop.
    told = stopped is not None and stopped.reason is StopReason.CANCELLED_BY_USER
    if facts.departed or told:
        return Retry(f"its place on the cluster was taken back: {cause}", died=False)
    if deaths + 1 < max_attempts:
        return Retry(cause)
    said = f"; the driver's log ends:\n{tail(facts.log_tail)}" if facts.log_tail.strip() else ""
    return Settle(
        JobStatus.FAILED,
        StopReason.ATTEMPTS_EXHAUSTED,
        f"attempt {deaths + 1} of {max_attempts} (recovery.max_attempts) died: {cause}{said}",
    )


def tail(log: str) -> str:
    """The log's last lines."""
    return "\n".join(log.strip().splitlines()[-LOG_TAIL_LINES:])[-LOG_TAIL_CHARACTERS:]
