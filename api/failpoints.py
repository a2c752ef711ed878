"""Named places between two effects: what a crash there leaves must be put right after a restart.

Nothing happens at them unless a test armed one, in the process that is to die. No setting does.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Where the control plane may be cut off."""

    JOB_STORED = "job_stored"  #: a new job is committed; its sender has no answer
    ADMITTING = "admitting"  #: an attempt is opened in a transaction that is still open
    ATTEMPT_OPENED = "attempt_opened"  #: … and committed; the cluster knows nothing
    FOLDER_PREPARED = "folder_prepared"  #: the driver would find its specification
    SUBMITTING = "submitting"  #: the last check before the cluster is told has passed
    SUBMITTED = "submitted"  #: the cluster took it; that is written nowhere
    SUBMIT_RECORDED = "submit_recorded"  #: … and now it is
    REQUEST_STORED = "request_stored"  #: cancel, pause or resume is committed, not answered
    FLAG_RAISED = "flag_raised"  #: the learners were asked to stop
    STOPPING = "stopping"  #: the cluster is about to be told to end the driver
    STOPPED = "stopped"  #: … and was told
    SETTLING = "settling"  #: all facts of an ended attempt are known, none is written
    SETTLE_WRITING = "settle_writing"  #: … written in a transaction that is still open
    SETTLED = "settled"  #: … and committed


_armed: Callable[[Point], None] | None = None


def arm(act: Callable[[Point], None] | None) -> None:
    """From now on `act` is called at every point that is passed."""
    global _armed
    _armed = act


def passing(point: Point) -> None:
    """The work has come to this point."""
    if _armed is not None:
        _armed(point)
