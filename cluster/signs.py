"""The sign of life of an actor of the pools, or of the weight store."""

from __future__ import annotations

from pathlib import Path

import ray

from rlhf_service.vitals import Vitals


def vitals_of_actor(folder: Path, role: str) -> Vitals:
    """For the actor's process to keep; it begins with its start."""
    return Vitals(folder / f"{role}.json", role, ray.get_runtime_context().get_node_id())
