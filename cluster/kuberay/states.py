"""What a RayJob's status means. Pure."""

from __future__ import annotations

from typing import Any

from rlhf_service.launching import LaunchState

FINISHED = frozenset({"Complete", "Failed", "ValidationFailed"})
"""Values of jobDeploymentStatus after which nothing changes."""

OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
"""Values of jobStatus after which the driver is gone."""


def launch_state(found: dict[str, Any] | None) -> LaunchState:
    """Where the attempt is. An object that is being deleted counts as running until it is gone.

    A RayJob that Kueue preempted is pending again: when it has room, the same attempt goes on from
    its newest checkpoint, in the place in the queue that it had.
    """
    if found is None:
        return LaunchState.UNKNOWN
    status = found.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    if deployment in FINISHED or (deployment != "Suspended" and job in OVER):
        return LaunchState.ENDED
    if found["metadata"].get("deletionTimestamp") or deployment == "Suspending":
        return LaunchState.RUNNING
    if deployment == "Running" and job == "RUNNING":
        return LaunchState.RUNNING
    return LaunchState.PENDING


def is_finished(found: dict[str, Any]) -> bool:
    """Whether its cluster has done its work."""
    return launch_state(found) is LaunchState.ENDED


def said(found: dict[str, Any]) -> str:
    """What the operator says of it."""
    status = found.get("status") or {}
    return ": ".join(part for part in (status.get("reason"), status.get("message")) if part)
