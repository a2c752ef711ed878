"""The JobLauncher port: how the control plane hands a job to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
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
    environment: Mapping[str, str] = field(default_factory=dict)
    """More variables of the driver and all that it starts. Not secret."""

    @property
    def submission_id(self) -> str:
        return submission_id(self.job_id, self.attempt)


def submission_id(job_id: str, attempt: int) -> str:
    """Name of an attempt on the cluster; submitting it twice makes one job."""
    return f"{job_id}-a{attempt}"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the whole cluster has."""

    cpus: float
    gpus: float


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

    def logs(self, submission_id: str) -> str:
        """What the driver printed."""
        ...

    def capacity(self) -> Capacity:
        """Total CPUs and GPUs of the cluster."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...
