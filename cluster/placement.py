"""Resources → placement group bundles. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_service.spec.resources import LearnerResources, PoolResources, ResourceSpec

Bundle = dict[str, float]

SLOTS = "RLHF_SLOTS"
"""Variable of a driver whose cluster has room set apart for each role."""


def pool_bundle(pool: PoolResources) -> Bundle:
    """What one actor reserves."""
    return _bundle(pool.cpus_per_actor, pool.gpus_per_actor)


def learner_bundle(learner: LearnerResources) -> Bundle:
    """What one learner rank reserves."""
    return _bundle(learner.cpus_per_worker, learner.gpus_per_worker)


def group_size(learner: LearnerResources) -> int | tuple[int, int]:
    """Ranks as Ray Train takes them: their number, or the fewest and the most."""
    return (learner.fewest, learner.num_workers) if learner.elastic else learner.num_workers


def pools_bundles(resources: ResourceSpec, slots: bool = False) -> list[Bundle]:
    """One bundle for each pool actor: rollout actors first, then reward actors."""
    rollout, reward = pool_bundle(resources.rollout), pool_bundle(resources.reward)
    return [rollout | slot("rollout", slots)] * resources.rollout.num_actors + [
        reward | slot("reward", slots)
    ] * resources.reward.num_actors


def slot_name(role: str) -> str:
    """The custom Ray resource of which each process of a role takes one."""
    return f"rlhf_{role}"


def slot(role: str, slots: bool) -> Bundle:
    """What a process reserves besides, on a cluster with slots."""
    return {slot_name(role): 1.0} if slots else {}


def has_slots(environment: Mapping[str, str]) -> bool:
    """Whether the driver's cluster has them."""
    return environment.get(SLOTS) == "1"


def _bundle(cpus: float, gpus: float) -> Bundle:
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
