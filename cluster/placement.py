"""Resources → placement group bundles. Pure."""

from __future__ import annotations

from rlhf_service.spec.resources import LearnerResources, PoolResources, ResourceSpec

Bundle = dict[str, float]


def pool_bundle(pool: PoolResources) -> Bundle:
    """What one actor reserves."""
    return _bundle(pool.cpus_per_actor, pool.gpus_per_actor)


def learner_bundle(learner: LearnerResources) -> Bundle:
    """What one learner rank reserves."""
    return _bundle(learner.cpus_per_worker, learner.gpus_per_worker)


def pools_bundles(resources: ResourceSpec) -> list[Bundle]:
    """One bundle for each pool actor: rollout actors first, then reward actors."""
    return [pool_bundle(resources.rollout)] * resources.rollout.num_actors + [
        pool_bundle(resources.reward)
    ] * resources.reward.num_actors


def _bundle(cpus: float, gpus: float) -> Bundle:
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
