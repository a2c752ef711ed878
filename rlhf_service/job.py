"""A job's status, why it stopped, and the one table of allowed transitions."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job is in its life."""

    VALIDATING = "validating"  #: accepted and stored; its files are being checked
    QUEUED = "queued"  #: waiting for its turn or for resources
    PROVISIONING = "provisioning"  #: submitted to Ray; processes are starting
    RUNNING = "running"  #: a stage is training
    RECOVERING = "recovering"  #: something died; restarting from the last checkpoint
    STALLED = "stalled"  #: a role has made no progress past its deadline
    PAUSING = "pausing"  #: asked to checkpoint and let go of its resources
    PAUSED = "paused"  #: holds no resources; resumes from its checkpoint
    CANCELLING = "cancelling"  #: asked to stop; resources are being freed
    CANCELLED = "cancelled"  #: stopped by request; no process of it is left
    SUCCEEDED = "succeeded"  #: the completion record is written
    FAILED = "failed"  #: stopped for the job's StopReason

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL

    @property
    def holds_resources(self) -> bool:
        return self in HOLDING


class StopReason(StrEnum):
    """Why a job stopped."""

    COMPLETED = "completed"  #: every stage finished
    CANCELLED_BY_USER = "cancelled_by_user"  #: POST …/cancel
    INVALID_SPEC = "invalid_spec"  #: settings contradict themselves or the cluster
    INVALID_DATA = "invalid_data"  #: a data file is missing, empty, or has a bad row
    INVALID_MODEL = "invalid_model"  #: a model folder is missing or is not one
    GATE_FAILED = "gate_failed"  #: the checks before the first PPO update did not hold
    NON_FINITE_LOSS = "non_finite_loss"  #: a loss or gradient became NaN or infinite
    REWARD_FAILED = "reward_failed"  #: the reward could not score
    UNHEALTHY = "unhealthy"  #: an alarm was raised and the stage's health.action is stop
    UNHEALTHY_PAUSED = "unhealthy_paused"  #: the same, and the action is pause
    DEPENDENCY_FAILED = "dependency_failed"  #: a job that it was to run after did not succeed
    STORAGE_FAILED = "storage_failed"  #: disk full, or storage unreachable
    STALLED = "stalled"  #: a role stopped making progress, too often
    OUT_OF_MEMORY = "out_of_memory"  #: a process was killed for memory
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"  #: died more often than the recovery budget allows
    LAUNCH_FAILED = "launch_failed"  #: Ray would not start it, or a worker lacks a compiler
    INTERNAL_ERROR = "internal_error"  #: a fault of this software

    def to_status(self) -> JobStatus:
        """The status this reason leads to; terminal, but for a pause. Total."""
        return REASON_STATUS.get(self, JobStatus.FAILED)


REASON_STATUS = {
    StopReason.COMPLETED: JobStatus.SUCCEEDED,
    StopReason.CANCELLED_BY_USER: JobStatus.CANCELLED,
    StopReason.UNHEALTHY_PAUSED: JobStatus.PAUSED,
}

TERMINAL = frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED})
HOLDING = frozenset(
    {
        JobStatus.PROVISIONING,
        JobStatus.RUNNING,
        JobStatus.RECOVERING,
        JobStatus.STALLED,
        JobStatus.PAUSING,
        JobStatus.CANCELLING,
    }
)

_ANY_END = frozenset({JobStatus.CANCELLING, JobStatus.FAILED})
_ALIVE = frozenset(
    {JobStatus.RECOVERING, JobStatus.STALLED, JobStatus.PAUSING, JobStatus.SUCCEEDED}
)

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.VALIDATING: _ANY_END | {JobStatus.QUEUED, JobStatus.CANCELLED},
    JobStatus.QUEUED: _ANY_END | {JobStatus.PROVISIONING, JobStatus.PAUSED, JobStatus.CANCELLED},
    JobStatus.PROVISIONING: _ANY_END | _ALIVE | {JobStatus.RUNNING, JobStatus.QUEUED},
    JobStatus.RUNNING: _ANY_END | _ALIVE,
    JobStatus.RECOVERING: _ANY_END | _ALIVE | {JobStatus.RUNNING, JobStatus.PROVISIONING},
    JobStatus.STALLED: _ANY_END | _ALIVE | {JobStatus.RUNNING, JobStatus.PROVISIONING},
    JobStatus.PAUSING: _ANY_END | {JobStatus.PAUSED, JobStatus.SUCCEEDED},
    JobStatus.PAUSED: _ANY_END | {JobStatus.QUEUED, JobStatus.CANCELLED},
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
}
"""Allowed next statuses. Terminal statuses have none."""


def can_move(before: JobStatus, after: JobStatus) -> bool:
    """Whether a job may go from `before` to `after`."""
    return after in TRANSITIONS[before]
