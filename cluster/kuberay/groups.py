"""A job's resources → the pods of its cluster. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from cluster.kuberay.settings import KubeRaySettings
from cluster.placement import learner_bundle, pool_bundle, slot_name
from rlhf_service.errors import SpecError
from rlhf_service.spec.job import JobSpec

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Role:
    """Identical processes."""

    name: str
    cpus: float
    gpus: float
    count: int


@dataclass(frozen=True, slots=True)
class PodGroup:
    """Identical pods."""

    name: str
    replicas: int
    cpus: float
    gpus: int
    slots: dict[str, int] = field(default_factory=dict)
    """Custom Ray resources: which role's processes may run in such a pod, and how many."""


def roles_of(spec: JobSpec) -> list[Role]:
    learner = spec.resources.learner
    bundle = learner_bundle(learner)
    roles = [Role("learner", bundle["CPU"], bundle.get("GPU", 0), learner.num_workers)]
    if spec.needs_pools:
        for name, pool in (("rollout", spec.resources.rollout), ("reward", spec.resources.reward)):
            bundle = pool_bundle(pool)
            roles.append(Role(name, bundle["CPU"], bundle.get("GPU", 0), pool.num_actors))
    return roles


def pod_groups(spec: JobSpec, settings: KubeRaySettings) -> list[PodGroup]:
    """One pod when everything fits into one, else pods for each role. Raises SpecError.

    Pods of a role carry slots that only its processes take: otherwise the pools, which are placed
    first, could take the learners' room and leave them pieces too small.
    """
    roles = roles_of(spec)
    if settings.gpu_worker is None and any(role.gpus for role in roles):
        raise SpecError("this cluster has no GPU workers", "resources.learner.gpus_per_worker")
    cpus = sum(role.cpus * role.count for role in roles)
    gpus = sum(role.gpus * role.count for role in roles)
    if cpus <= settings.pod_cpus + EPSILON and gpus <= settings.pod_gpus + EPSILON:
        return [PodGroup("worker", 1, cpus, ceil(gpus - EPSILON))]
    return [group_of(role, settings) for role in roles]


def group_of(role: Role, settings: KubeRaySettings) -> PodGroup:
    """As many of the role's processes in a pod as fit, spread evenly."""
    fit = int((settings.pod_cpus + EPSILON) / role.cpus)
    if role.gpus:
        fit = min(fit, int((settings.pod_gpus + EPSILON) / role.gpus))
    if fit < 1:
        unit = "worker" if role.name == "learner" else "actor"
        raise SpecError(
            f"one {role.name} needs {role.cpus:g} CPUs and {role.gpus:g} GPUs; a pod has at most "
            f"{settings.pod_cpus:g} and {settings.pod_gpus}",
            f"resources.{role.name}.cpus_per_{unit}",
        )
    pods = ceil(role.count / fit)
    each = ceil(role.count / pods)
    gpus = ceil(role.gpus * each - EPSILON)
    return PodGroup(role.name, pods, role.cpus * each, gpus, {slot_name(role.name): each})
