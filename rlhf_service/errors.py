"""The exception tree. Every message says what is wrong, where, and what to do.

RlhfError
├── UserError                 something the user can mend; carries the field it is about
│   ├── SpecError             the job's settings contradict themselves or the cluster
│   ├── DataError             a data file is missing, empty, or has a bad row
│   ├── ModelError            a model folder is missing or is not what it should be
│   └── EngineUnavailable     the rollout engine that the job names cannot run where its actors do
├── TrainingError             the run itself went wrong; carries a StopReason
│   ├── GateFailed            the checks before the first update did not hold
│   ├── NonFiniteLoss         a loss or gradient is NaN or infinite
│   ├── RewardFailed          the reward could not score
│   ├── OperatorUncompiled    an operator of DeepSpeed does not compile on the worker
│   └── StorageError          a checkpoint, event or artefact could not be written
├── RoleStalled               a role did not answer within its deadline
├── WeightsUnavailable        the asked-for policy version is not in the channel
├── WeightsCorrupt            bytes differ from the published digests
└── LauncherError             the cluster refused or could not be reached
"""

from __future__ import annotations

from rlhf_service.job import StopReason


class RlhfError(Exception):
    """Base of everything this project raises on purpose."""

    reason = StopReason.INTERNAL_ERROR


class UserError(RlhfError):
    """Something the user can mend. `field` is a dotted path into the JobSpec, or None."""

    reason = StopReason.INVALID_SPEC

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message = message
        self.field = field

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str | None]]:
        return type(self), (self.message, self.field)


class SpecError(UserError):
    """The job's settings contradict themselves or the cluster."""


class DataError(UserError):
    """A data file is missing, empty, or has a bad row."""

    reason = StopReason.INVALID_DATA


class ModelError(UserError):
    """A model folder is missing or is not what it should be."""

    reason = StopReason.INVALID_MODEL


class EngineUnavailable(UserError):
    """The rollout engine that the job names cannot run where its actors do."""


class TrainingError(RlhfError):
    """The run itself went wrong in a way that a restart would repeat."""


class GateFailed(TrainingError):
    """The checks before the first update did not hold."""

    reason = StopReason.GATE_FAILED


class NonFiniteLoss(TrainingError):
    """A loss or gradient is NaN or infinite."""

    reason = StopReason.NON_FINITE_LOSS


class RewardFailed(TrainingError):
    """The reward could not score."""

    reason = StopReason.REWARD_FAILED


class OperatorUncompiled(TrainingError):
    """An operator of DeepSpeed does not compile on the worker."""

    reason = StopReason.LAUNCH_FAILED


class Unhealthy(TrainingError):
    """An alarm was raised in a stage whose health.action is `stop`."""

    reason = StopReason.UNHEALTHY


class UnhealthyPause(TrainingError):
    """An alarm was raised in a stage whose health.action is `pause`."""

    reason = StopReason.UNHEALTHY_PAUSED


class StorageError(TrainingError):
    """A checkpoint, event or artefact could not be written."""

    reason = StopReason.STORAGE_FAILED


class RoleStalled(RlhfError):
    """A role did not answer within its deadline."""

    reason = StopReason.STALLED


class WeightsUnavailable(RlhfError):
    """The asked-for policy version is not in the channel."""


class WeightsCorrupt(RlhfError):
    """Bytes differ from the published digests."""


class LauncherError(RlhfError):
    """The cluster refused or could not be reached."""


class LauncherUnreachable(LauncherError):
    """The cluster did not answer, or not in time: whether it did what it was asked is not known."""
