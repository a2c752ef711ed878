"""The pools' processes, as the driver owns them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.growth import growth_seconds
from cluster.machines import OutOfReach, kill_here, on_its_machine
from cluster.placement import has_slots, pool_bundle, pools_bundles
from cluster.watchdog import ActorPost
from cluster.weights.group import GROUP, THREADS
from rlhf_service.errors import LauncherError
from rlhf_service.events import MemoryMeasured
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.resources import PoolResources
from rlhf_service.spec.rollout import VLLM_PYTHON, EngineSpec, VllmEngineSpec
from rlhf_service.vitals import Sign

PLACEMENT_SECONDS = 120
PEAK_SECONDS = 5
"""For the actors' last word; one that is busy or gone keeps nobody waiting."""

STORE_SECONDS = 30.0
"""Without a sign of life of the weight store, at most: what it does takes no time, and who asks it
gives up after a minute."""

STORE = "weights"
ADVICE = {
    "rollout": "If a batch merely takes longer raise recovery.request_timeout, or lower "
    "prompts_per_step or sampling.max_new_tokens.",
    "reward": "If scoring merely takes longer raise recovery.request_timeout; otherwise see whether "
    "what the reward asks (a service, a judge, a model) answers, and give it a shorter timeout.",
    STORE: "It only keeps references, so its machine is frozen, out of memory or cut off: see to it, "
    "then retry the job.",
}
"""What a user can do about a role that stops again and again."""


def namespace_of(job: str) -> str:
    """Ray namespace of a job's named actors."""
    return f"rlhf-{job}"


def store_name(job: str) -> str:
    return f"rlhf/{job}/{STORE}"


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

    def __init__(self, spec: JobSpec, job: str, vitals: Path) -> None:
        self._spec, self._job, self._vitals = spec, job, vitals
        self._group: PlacementGroup | None = None
        self._actors: list[ray.actor.ActorHandle] = []
        self._pool_actors: dict[str, list[ray.actor.ActorHandle]] = {}
        self._posts: list[ActorPost] = []

    def __enter__(self) -> PoolHost:
        if self._spec.needs_pools:
            bundles = pools_bundles(self._spec.resources, has_slots(os.environ))
            self._group = placement_group(bundles, strategy="PACK", name=f"rlhf/{self._job}/pools")
            seconds = PLACEMENT_SECONDS + growth_seconds(os.environ)
            if not self._group.wait(seconds):
                raise LauncherError(
                    f"no room for the pools within {seconds:g} s: they reserve {bundles}; "
                    "lower resources.rollout or resources.reward"
                )
            self._start_all()
        return self

    def posts(self) -> list[ActorPost]:
        """Every actor, for the watchdog."""
        return list(self._posts)

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
        options = {"name": name, "num_cpus": 0, "max_restarts": -1}
        store = ray.remote(WeightStore).options(**options).remote(STORE, self._vitals)
        self._keep(store, STORE, STORE)
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
        kind = ray.remote(concurrency_groups=self._concurrency(role))(cls)
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
            given = (name, self._vitals, *arguments, device, threads)
            actor = kind.options(**options).remote(*given)
            self._keep(actor, role, f"{role}-{index}")
            self._pool_actors.setdefault(role, []).append(actor)

    def _concurrency(self, role: str) -> dict[str, int] | None:
        """Threads of an actor besides the one that serves requests."""
        if role == "rollout" and self._spec.rollout.weights == "collective":
            return {GROUP: THREADS}
        return None

    def _keep(self, actor: ray.actor.ActorHandle, kind: str, role: str) -> None:
        patience = self._spec.recovery.request_timeout
        self._actors.append(actor)
        self._posts.append(
            ActorPost(
                role=role,
                patience=min(patience, STORE_SECONDS) if kind == STORE else patience,
                restarts=self._spec.recovery.max_restarts,
                advice=ADVICE[kind],
                kill=partial(replace, actor),
            )
        )


def replace(actor: ray.actor.ActorHandle, sign: Sign) -> None:
    """Kill the process; Ray starts the actor again. It is asked itself where the process is out of
    reach, which does for one that still listens.
    """
    try:
        killed = on_its_machine(sign, kill_here)
    except OutOfReach:
        killed = False
    if not killed:
        ray.kill(actor, no_restart=False)
