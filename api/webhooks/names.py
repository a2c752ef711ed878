"""What a webhook can ask to be told: `job.<status>`, or `job.<type of event>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from rlhf_service.events import Event, StatusChanged
from rlhf_service.job import TERMINAL, JobStatus

EVERYTHING = "*"
ENDS = tuple(sorted(f"job.{status}" for status in TERMINAL))
"""What a webhook is told that does not ask for anything in particular."""

STATUSES = frozenset(f"job.{status}" for status in JobStatus)
TYPES = frozenset(
    f"job.{kind.model_fields['type'].default}"
    for kind in get_args(get_args(Event)[0])
    if kind is not StatusChanged
)
NAMES = STATUSES | TYPES


def name_of(event: Event) -> str:
    """The name that an event is asked for by."""
    if isinstance(event, StatusChanged):
        return f"job.{event.status}"
    return f"job.{event.type}"


def wants(asked: Sequence[str], name: str) -> bool:
    return EVERYTHING in asked or name in asked
