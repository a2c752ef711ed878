"""The sign of life of a job's process on the cluster: learner, actor of the pools, weight store."""

from __future__ import annotations

from pathlib import Path

import ray

from rlhf_service.vitals import Vitals


def vitals_of_process(folder: Path, role: str) -> Vitals:
    """For the process to keep; it begins with its start."""
    return Vitals(folder / f"{role}.json", role, ray.get_runtime_context().get_node_id())
