"""Weights that are broadcast to actors, of which some stand still or die: on real Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import ray
import torch

from cluster.weights.collective import CollectiveChannel
from cluster.weights.group import GROUP, THREADS
from cluster.weights.object_store import ObjectStoreChannel
from cluster.weights.store import WeightStore
from rlhf_service.events import Event
from rlhf_service.models.digest import digests
from rlhf_service.ports import KEPT_VERSIONS, WeightSnapshot
from tests.integration.conftest import wait_until
from tests.receiving import Receiving, came_by_broadcast

SECONDS = 90
NUMBERS = 8 << 20
"""Of four bytes: more than what sockets take without a reader."""
BROADCAST, STORE = "broadcast", "object store"


class Actor(Receiving):
    """A rollout actor's calls about weights, and what a test asks of it."""

    def pid(self) -> int:
        return os.getpid()

    def fetch(self, version: int) -> str:
        """Which way it came."""
        snapshot = self.receiver.fetch(version)
        assert digests(snapshot.tensors) == snapshot.digests
        self.receiver.taken_over()
        return BROADCAST if came_by_broadcast(snapshot) else STORE


def version(number: int) -> WeightSnapshot:
    tensors = {
        "w": torch.full((NUMBERS,), number / 7),
        "b": torch.full((5, 3), number, dtype=torch.bfloat16),
    }
    return WeightSnapshot(number, digests(tensors), tensors)


@pytest.fixture
def connected(service) -> Iterator[None]:
    ray.init(address=service.cluster.address, namespace="weights", log_to_driver=False)
    yield
    ray.shutdown()


def published(channel: CollectiveChannel, number: int) -> float:
    """Seconds that the learner was kept."""
    snapshot = version(number)
    begun = time.monotonic()
    channel.publish(snapshot)
    return time.monotonic() - begun


def test_a_learner_waits_for_no_actor_and_every_actor_gets_every_version(connected, monkeypatch):
    for module in ("member", "courier"):
        monkeypatch.setattr(f"cluster.weights.{module}.STALL_SECONDS", 4.0)
    store = ray.remote(num_cpus=0)(WeightStore).remote()
    kind = ray.remote(num_cpus=0, max_restarts=-1, concurrency_groups={GROUP: THREADS})(Actor)
    first, second = kind.remote(store), kind.remote(store)
    ray.get([first.pid.remote(), second.pid.remote()], timeout=SECONDS)
    told: list[Event] = []
    behind = ObjectStoreChannel(store, KEPT_VERSIONS)
    channel = CollectiveChannel(behind, [first, second], "cpu", told.append)

    def ways(number: int, *actors) -> list[str]:
        return ray.get([actor.fetch.remote(number) for actor in actors], timeout=SECONDS)

    published(channel, 1)
    assert ways(1, first, second) == [BROADCAST, BROADCAST]

    stopped = ray.get(second.pid.remote())
    os.kill(stopped, signal.SIGSTOP)
    assert published(channel, 2) < 5
    assert ways(2, first) == [BROADCAST]  # after the group without the other is made
    assert published(channel, 3) < 5
    assert ways(3, first) == [BROADCAST]
    os.kill(stopped, signal.SIGCONT)
    assert ways(3, second) == [STORE]

    # It answers again, so the next group has it; a new process of an actor is no member of the old.
    published(channel, 4)
    assert ways(4, first, second) == [BROADCAST, BROADCAST]
    os.kill(ray.get(first.pid.remote()), signal.SIGKILL)
    assert published(channel, 5) < 5
    assert ways(5, second) == [BROADCAST]
    wait_until(lambda: is_up(first), SECONDS, "the actor's new process")
    ways(5, first)
    published(channel, 6)  # by whose end the new process is known to answer
    ways(6, first, second)
    published(channel, 7)
    assert ways(7, first, second) == [BROADCAST, BROADCAST]

    # A learner that went back to a checkpoint publishes older numbers again.
    published(channel, 2)
    assert ways(2, first, second) == [BROADCAST, BROADCAST]
    assert channel.fetch(2).digests == version(2).digests
    assert any("2 of 2 rollout actors" in event.message for event in told)
    assert any("1 of 2 rollout actors" in event.message for event in told)

    # Its threads end with it. An interpreter that ends while one of them gives tensors back aborts.
    del channel
    wait_until(lambda: not carrying(), SECONDS, "the courier's end")


def carrying() -> set[str]:
    """Threads that have to do with broadcasts."""
    return {thread.name for thread in threading.enumerate()} & {"courier", "broadcast", "let go"}


def is_up(actor: ray.actor.ActorHandle) -> bool:
    try:
        return ray.get(actor.pid.remote(), timeout=SECONDS) > 0
    except ray.exceptions.RayError:
        return False
