"""The pools' processes, as the driver owns them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.placement import has_slots, pool_bundle, pools_bundles
from rlhf_service.errors import LauncherError
from rlhf_service.events import MemoryMeasured
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.resources import PoolResources
from rlhf_service.spec.rollout import VLLM_PYTHON, EngineSpec, VllmEngineSpec

PLACEMENT_SECONDS = 120
PEAK_SECONDS = 5
"""For the actors' last word; one that is busy or gone keeps nobody waiting."""


def namespace_of(job: str) -> str:
    """Ray namespace of a job's named actors."""
    return f"rlhf-{job}"


def store_name(job: str) -> str:
    return f"rlhf/{job}/weights"


def actor_names(job: str, role: str, count: int) -> list[str]:
    """Names of a pool's actors, as the Ray dashboard shows them."""
    return [f"rlhf/{job}/{role}-{index}" for index in range(count)]


def engine_environment(engine: EngineSpec, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Ray's runtime environment of the rollout actors; None for the job's own."""
    python = environment.get(VLLM_PYTHON)
    if not python or not isinstance(engine, VllmEngineSpec):
        return None
    return {"py_executable": python}


class PoolHost:
    """The weight store and the pools of one job; a context that leaves nothing behind.

    Their room is reserved first, so that a job that cannot have it fails before it trains. The
    processes then start beside the learners', whose start-up is one process after another.
    """

    def __init__(self, spec: JobSpec, job: str) -> None:
        self._spec, self._job = spec, job
        self._group: PlacementGroup | None = None
        self._actors: list[ray.actor.ActorHandle] = []
        self._pool_actors: dict[str, list[ray.actor.ActorHandle]] = {}

    def __enter__(self) -> PoolHost:
        if self._spec.needs_pools:
            bundles = pools_bundles(self._spec.resources, has_slots(os.environ))
            self._group = placement_group(bundles, strategy="PACK", name=f"rlhf/{self._job}/pools")
            if not self._group.wait(PLACEMENT_SECONDS):
                raise LauncherError(
                    f"no room for the pools within {PLACEMENT_SECONDS} s: they reserve {bundles}; "
                    "lower resources.rollout or resources.reward"
                )
            self._start_all()
        return self

    def peaks(self) -> list[MemoryMeasured]:
        """What each pool actor's process has held at most; of those that answer at once."""
        from cluster.actors import peak_of

        asked = [
            self._pool_actors[role][number].apply.remote(peak_of, role, number)
            for role in self._pool_actors
            for number in range(len(self._pool_actors[role]))
        ]
        answered, _ = (
            ray.wait(asked, num_returns=len(asked), timeout=PEAK_SECONDS) if asked else ([], [])
        )
        found = []
        for answer in answered:
            try:
                found.append(ray.get(answer))
            except ray.exceptions.RayError:
                continue  # it died; nothing can be said of it
        return found

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            ray.kill(actor)
        if self._group is not None:
            remove_placement_group(self._group)

    def _start_all(self) -> None:
        # Imported late: most jobs' drivers never need them.
        from cluster.actors import RewardActor, RolloutActor
        from cluster.weights.store import WeightStore

        name = store_name(self._job)
        store = ray.remote(WeightStore).options(name=name, num_cpus=0, max_restarts=-1).remote()
        self._actors.append(store)
        rollout, reward = self._spec.resources.rollout, self._spec.resources.reward
        python = engine_environment(self._spec.rollout.engine, os.environ)
        self._start(RolloutActor, "rollout", 0, rollout, (store,), python)
        self._start(RewardActor, "reward", rollout.num_actors, reward, ())

    def _start(
        self,
        cls: type,
        role: str,
        first_bundle: int,
        pool: PoolResources,
        arguments: tuple[object, ...],
        environment: dict[str, str] | None = None,
    ) -> None:
        """Named actors, one for each bundle; Ray restarts them whenever they die."""
        reserved = pool_bundle(pool)
        cuda = self._spec.resources.on_gpu and bool(reserved.get("GPU"))
        threads = pool.num_threads
        for index, name in enumerate(actor_names(self._job, role, pool.num_actors)):
            options = {
                "name": name,
                "num_cpus": reserved["CPU"],
                "num_gpus": reserved.get("GPU", 0),
                "max_restarts": -1,
                "scheduling_strategy": PlacementGroupSchedulingStrategy(
                    placement_group=self._group, placement_group_bundle_index=first_bundle + index
                ),
                "runtime_env": environment,
            }
            device = "cuda" if cuda else "cpu"
            actor = ray.remote(cls).options(**options).remote(name, *arguments, device, threads)
            self._actors.append(actor)
            self._pool_actors.setdefault(role, []).append(actor)
