"""A cluster that grows when jobs ask for room: how long that may take, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.placement import learner_bundle, pools_bundles
from rlhf_service.launching import GROWTH_VARIABLE
from rlhf_service.spec.job import JobSpec


def growth_seconds(environment: Mapping[str, str]) -> float:
    """What new nodes may take to come; 0 where the cluster stays as it is."""
    return float(environment.get(GROWTH_VARIABLE, 0))


def waits_for_growth(spec: JobSpec, has: Mapping[str, float], seconds: float) -> str:
    """What a job waits for before it can begin, in words; empty when the cluster has all of it."""
    bundles = [learner_bundle(spec.resources.learner)] * spec.resources.learner.num_workers
    if spec.needs_pools:
        bundles += pools_bundles(spec.resources)
    asked = {name: sum(one.get(name, 0.0) for one in bundles) for name in ("CPU", "GPU")}
    lacking = [
        f"{needed:g} {name}s, it has {has.get(name, 0.0):g}"
        for name, needed in asked.items()
        if needed > has.get(name, 0.0)
    ]
    if not lacking:
        return ""
    return f"waiting up to {seconds:g} s for the cluster to grow: needs {'; '.join(lacking)}"
