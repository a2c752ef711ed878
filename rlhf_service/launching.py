"""The JobLauncher port: how the control plane hands a job to a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class LaunchState(StrEnum):
    """What the cluster says of a submission."""

    UNKNOWN = "unknown"  #: the cluster has never heard of it, or has forgotten it
    PENDING = "pending"  #: accepted, its driver has not started
    RUNNING = "running"  #: its driver lives
    ENDED = "ended"  #: its driver has exited, however


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """One attempt of one job."""

    job_id: str
    attempt: int
    job_name: str
    storage: str
    """The job's folder."""
    events_url: str
    """Where the driver posts its events."""
    events_token: str
    """Bearer token good for this job and attempt only."""
    owner: str = ""
    """Whose job it is, where several control planes share a cluster."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More variables of the driver and all that it starts. Not secret."""

    @property
    def submission_id(self) -> str:
        return submission_id(self.job_id, self.attempt)


def submission_id(job_id: str, attempt: int) -> str:
    """Name of an attempt on the cluster; submitting it twice makes one job."""
    return f"{job_id}-a{attempt}"


GROWTH_VARIABLE = "RLHF_CLUSTER_GROWTH_SECONDS"
"""Variable of a driver whose cluster grows when jobs ask for room: how long that may take."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the whole cluster has."""

    cpus: float
    gpus: float

    def grown(self, limit: Capacity) -> Capacity:
        """What it has once it has grown to `limit`; never less than it has."""
        return Capacity(max(self.cpus, limit.cpus), max(self.gpus, limit.gpus))

    @property
    def nothing(self) -> bool:
        return not (self.cpus or self.gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An attempt whose driver waits or lives."""

    job_id: str
    attempt: int
    owner: str

    @property
    def submission_id(self) -> str:
        return submission_id(self.job_id, self.attempt)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What of this service lives on the cluster."""

    submissions: Sequence[Submission] = ()
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Job → names of its actors and placement groups, where they are named after it."""


class JobLauncher(Protocol):
    """Ray Jobs, a KubeRay RayJob, or a fake. Blocking; raises LauncherError when unreachable."""

    def submit(self, request: LaunchRequest) -> None:
        """Start the attempt; nothing happens when it was submitted before."""
        ...

    def stop(self, submission_id: str) -> None:
        """Ask the driver to stop (it checkpoints); nothing happens when it is gone."""
        ...

    def state(self, submission_id: str) -> LaunchState:
        """Where the attempt is."""
        ...

    def leftovers(self, job_id: str) -> list[str]:
        """Names of the job's actors and placement groups that still live."""
        ...

    def remove(self, job_id: str) -> None:
        """Have the job's leftovers removed; they are gone some time after. Exactly those that are
        there now: what a later attempt starts is safe.
        """
        ...

    def inventory(self) -> Inventory:
        """Everything of any job that lives."""
        ...

    def logs(self, submission_id: str) -> str:
        """What the driver printed."""
        ...

    def capacity(self) -> Capacity:
        """Total CPUs and GPUs of the cluster."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...
