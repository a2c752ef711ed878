"""The pools: requests to identical actors, with re-dispatch and health.

Consumes: requests of one learner rank. Waits for: actors. Unblocked by: an answer, or an actor's death
(Ray restarts it); the driver's watchdog kills one that is stalled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import ray

from cluster.actors import GenerateRequest, Refused, ScoreRequest
from cluster.host import actor_names, store_name
from cluster.weights.collective import CollectiveChannel
from cluster.weights.object_store import ObjectStoreChannel
from rlhf_service.errors import RlhfError, RoleStalled
from rlhf_service.events import Event, Recovered, RoleStopped
from rlhf_service.ports import KEPT_VERSIONS, WeightChannel
from rlhf_service.records import Prompt, Rollout, ScoreFailure, ScoreOutcome
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.learner import Precision
from rlhf_service.spec.ppo import SamplingSpec
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.spec.rollout import EngineSpec
from rlhf_service.tracing.base import NoTracer, Tracer

POLL_SECONDS = 0.05
PROBE_SECONDS = 2.0
START_SECONDS = 120.0
REFUSAL_PAUSE_SECONDS = 0.5
MAX_TRIES = 4
"""Actors that may die over one request before the job's learner gives up."""

Item = TypeVar("Item")
PublishingEnd = ObjectStoreChannel | CollectiveChannel


@dataclass(slots=True)
class Ticket:
    """One request on its way."""

    request: object
    tries: int = 0
    actor: int | None = None
    sent_at: float = 0.0
    failures: list[str] = field(default_factory=list)


class ActorPool:
    """Sends requests to healthy actors and gets each answered once."""

    def __init__(
        self,
        role: str,
        actors: Sequence[ray.actor.ActorHandle],
        patience: float,
        emit: Callable[[Event], None],
    ) -> None:
        # Brings in all of RLlib; paid for when the first pool is needed.
        from ray.rllib.utils.actor_manager import FaultTolerantActorManager

        self._role, self._patience, self._emit = role, patience, emit
        self._manager = FaultTolerantActorManager(
            list(actors), max_remote_requests_in_flight_per_actor=1
        )

    @property
    def size(self) -> int:
        return int(self._manager.num_actors())

    def ask(
        self,
        method: str,
        requests: Sequence[object],
        on_refusal: Callable[[Refused], None],
    ) -> list[Any]:
        """Answers in order. Raises RoleStalled when a request used up its tries.

        `on_refusal` may raise; when it returns, the request is sent again.
        """
        tickets = {str(i): Ticket(request) for i, request in enumerate(requests)}
        answers: dict[str, Any] = {}
        while len(answers) < len(tickets):
            self._send(method, {t: k for t, k in tickets.items() if t not in answers})
            for result in self._manager.fetch_ready_async_reqs(
                tags=list(tickets), timeout_seconds=POLL_SECONDS
            ):
                ticket = tickets[result.tag]
                actor, ticket.actor = ticket.actor, None
                if not result.ok:
                    self._lost(method, ticket, actor, str(result.get()))
                elif isinstance(found := result.get(), Refused):
                    on_refusal(found)
                    ticket.failures.append(str(found.error))
                    self._count(method, ticket)
                    time.sleep(REFUSAL_PAUSE_SECONDS)
                else:
                    answers[result.tag] = found
        return [answers[str(i)] for i in range(len(requests))]

    def _send(self, method: str, tickets: Mapping[str, Ticket]) -> None:
        """Give waiting tickets to idle healthy actors."""
        waiting = [(tag, t) for tag, t in tickets.items() if t.actor is None]
        if not waiting:
            return
        if (
            not self._manager.healthy_actor_ids()
            or len(self._manager.healthy_actor_ids()) < self.size
        ):
            self._revive()
        busy = {t.actor for t in tickets.values() if t.actor is not None}
        idle = [a for a in self._manager.healthy_actor_ids() if a not in busy]
        for (tag, ticket), actor in zip(waiting, idle, strict=False):
            self._manager.foreach_actor_async(
                method, tag=tag, kwargs={"request": ticket.request}, remote_actor_ids=[actor]
            )
            ticket.actor, ticket.sent_at = actor, time.monotonic()

    def _revive(self) -> None:
        """Take restarted actors back into service."""
        for actor in self._manager.probe_unhealthy_actors(
            timeout_seconds=PROBE_SECONDS, mark_healthy=True
        ):
            message = "answers again and fetches the newest weights"
            self._emit(Recovered(role=f"{self._role}-{actor}", message=message))

    def _lost(self, method: str, ticket: Ticket, actor: int | None, why: str) -> None:
        lines = why.strip().splitlines() or ["died"]
        # A death says it first; an exception's traceback says it last.
        message = (lines[-1] if "Traceback" in why else lines[0])[:300]
        self._emit(
            RoleStopped(role=f"{self._role}-{actor}", phase=method, stalled=False, message=message)
        )
        ticket.failures.append(message)
        if time.monotonic() - ticket.sent_at < self._patience:
            self._count(method, ticket)  # the watchdog counts those that stall

    def _count(self, method: str, ticket: Ticket) -> None:
        ticket.tries += 1
        if ticket.tries >= MAX_TRIES:
            raise RoleStalled(
                f"{self._role}: {method} failed {ticket.tries} times: {ticket.failures[-1]}"
            )


class PoolEngine:
    """The RolloutEngine port over a pool."""

    def __init__(
        self,
        pool: ActorPool,
        channel: PublishingEnd,
        model: Path,
        precision: Precision,
        engine: EngineSpec,
        tracer: Tracer,
    ) -> None:
        self._pool, self._channel, self._tracer = pool, channel, tracer
        self._model, self._precision, self._engine = model, precision, engine

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        with self._tracer.span("generate", version=version, prompts=len(prompts)) as span:
            requests = [
                GenerateRequest(
                    model=self._model,
                    precision=self._precision,
                    engine=self._engine,
                    version=version,
                    prompts=tuple(part),
                    sampling=sampling,
                    seed=seed,
                    traceparent=span.traceparent,
                )
                for part in split(prompts, self._pool.size)
            ]
            answers = self._pool.ask("generate", requests, self._on_refusal)
        return [rollout for answer in answers for rollout in answer]

    def _on_refusal(self, refused: Refused) -> None:
        if not refused.transient:
            raise refused.error
        self._channel.republish()


class PoolReward:
    """The RewardFunction port over a pool."""

    def __init__(
        self, pool: ActorPool, reward: RewardSpec, folders: Mapping[str, Path], tracer: Tracer
    ) -> None:
        self._pool, self._reward, self._folders = pool, reward, dict(folders)
        self._tracer = tracer

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        parts = split(rollouts, self._pool.size)
        with self._tracer.span("score", rollouts=len(rollouts)) as span:
            requests = [
                ScoreRequest(
                    reward=self._reward,
                    folders=self._folders,
                    rollouts=tuple(part),
                    traceparent=span.traceparent,
                )
                for part in parts
            ]
            try:
                answers = self._pool.ask("score", requests, _raise)
            except RoleStalled as fault:
                return [ScoreFailure(kind="timeout", message=str(fault)) for _ in rollouts]
        return [outcome for answer in answers for outcome in answer]


def split(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """At most `parts` contiguous, nearly equal, non-empty shares: the same for the same input."""
    size, extra = divmod(len(items), parts)
    edges = [i * size + min(i, extra) for i in range(parts + 1)]
    shares = [items[a:b] for a, b in pairwise(edges)]
    return [share for share in shares if len(share)]


def _raise(refused: Refused) -> None:
    raise refused.error if isinstance(refused.error, RlhfError) else RlhfError(str(refused.error))


@dataclass(frozen=True, slots=True)
class RayPools:
    """The Pools port of the stages: what the driver started, as one rank uses it."""

    job: str
    spec: JobSpec
    emit: Callable[[Event], None]
    tracer: Tracer = field(default_factory=NoTracer)

    def rollouts(self, model: Path, weights: WeightChannel) -> PoolEngine:
        assert isinstance(weights, ObjectStoreChannel | CollectiveChannel)  # what weights() gave
        pool = self._pool("rollout", self.spec.resources.rollout.num_actors)
        precision, engine = self.spec.learner.precision, self.spec.rollout.engine
        return PoolEngine(pool, weights, model, precision, engine, self.tracer)

    def rewards(self, reward: RewardSpec, folders: Mapping[str, Path]) -> PoolReward:
        pool = self._pool("reward", self.spec.resources.reward.num_actors)
        return PoolReward(pool, reward, folders, self.tracer)

    def weights(self, max_staleness: int) -> PublishingEnd:
        store = find_actor(store_name(self.job))
        channel = ObjectStoreChannel(store, KEPT_VERSIONS + max_staleness)
        if self.spec.rollout.weights == "object_store":
            return channel
        resources = self.spec.resources
        names = actor_names(self.job, "rollout", resources.rollout.num_actors)
        on_gpus = resources.on_gpu and resources.rollout.gpus_per_actor > 0
        actors = [find_actor(name) for name in names]
        return CollectiveChannel(channel, actors, "cuda" if on_gpus else "cpu", self.emit)

    def _pool(self, role: str, count: int) -> ActorPool:
        actors = [find_actor(name) for name in actor_names(self.job, role, count)]
        return ActorPool(role, actors, self.spec.recovery.request_timeout, self.emit)


def find_actor(name: str) -> ray.actor.ActorHandle:
    """A named actor of this job, once the driver has started it. Raises RoleStalled."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return ray.get_actor(name)
        except ValueError:
            time.sleep(POLL_SECONDS)
    raise RoleStalled(f"{name} was not started within {START_SECONDS} s")
