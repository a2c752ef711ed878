"""The learner of tests/benchmarks/publishing.py, on one of its hosts."""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.weights.collective import CollectiveChannel
from cluster.weights.group import GROUP, THREADS
from cluster.weights.object_store import ObjectStoreChannel
from cluster.weights.store import WeightStore
from rlhf_service.ports import KEPT_VERSIONS, WeightChannel, WeightSnapshot
from rlhf_service.storage import write_atomically
from tests.receiving import Receiving, came_by_broadcast

TENSORS = 64
WAIT_SECONDS = 120


class Actor(Receiving):
    """A rollout actor, as far as weights are concerned: its network takes over what arrives."""

    def __init__(self, store: ray.actor.ActorHandle, mib: int) -> None:
        super().__init__(store)
        self._network = tensors(mib)

    def load(self, version: int) -> bool:
        """Whether it came by broadcast."""
        found = self.receiver.fetch(version)
        for name, tensor in self._network.items():
            tensor.copy_(found.tensors[name])
        self.receiver.taken_over()
        return came_by_broadcast(found)

    def listen(self, address: str) -> int:
        """A port whose first connection is read to its end by `drain`."""
        self._socket = socket.create_server((address, 0))
        return int(self._socket.getsockname()[1])

    def drain(self) -> float:
        connection, _ = self._socket.accept()
        buffer = memoryview(bytearray(4 << 20))
        while connection.recv_into(buffer):
            pass
        return time.time()


def tensors(mib: int) -> dict[str, torch.Tensor]:
    count = (mib << 20) // 4 // TENSORS
    return {f"layer.{n}.weight": torch.rand(count) for n in range(TENSORS)}


def over_tcp(actor: ray.actor.ActorHandle, address: str, mib: int) -> float:
    """Seconds to send as many bytes through one connection."""
    port, payload = ray.get(actor.listen.remote(address)), bytes(mib << 20)
    ended, begun = actor.drain.remote(), time.time()
    with socket.create_connection((address, port)) as connection:
        connection.sendall(payload)
    return float(ray.get(ended)) - begun


def timed(publish: Callable[[], None], load: Callable[[], list[bool]]) -> tuple[float, float, bool]:
    """Seconds that the learner is kept; seconds to the last actor; whether by broadcast."""
    begun = time.perf_counter()
    publish()
    kept = time.perf_counter() - begun
    broadcast = load()
    return kept, time.perf_counter() - begun, all(broadcast)


def measured(node: str, address: str, count: int, mib: int, rounds: int) -> dict[str, float]:
    """Of `count` actors on one node."""
    store = ray.remote(num_cpus=0)(WeightStore).remote()
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    kind = ray.remote(num_cpus=0, scheduling_strategy=there, concurrency_groups={GROUP: THREADS})
    actors = [kind(Actor).remote(store, mib) for _ in range(count)]
    objects = ObjectStoreChannel(store, KEPT_VERSIONS)
    channels: dict[str, WeightChannel] = {
        "object_store": objects,
        "collective": CollectiveChannel(objects, actors, "cpu", lambda event: None),
    }
    network, version = tensors(mib), 0
    found: dict[str, list[float]] = {}
    for _ in range(1 + rounds):  # the first warms up and makes the group
        found.setdefault("tcp", []).append(over_tcp(actors[0], address, mib))
        for name, channel in channels.items():
            version += 1
            snapshot = WeightSnapshot(version, {str(version): ""}, network)
            kept, arrived, broadcast = timed(
                lambda: channel.publish(snapshot),  # noqa: B023
                lambda: ray.get([actor.load.remote(version) for actor in actors]),  # noqa: B023
            )
            assert broadcast == (name == "collective")
            found.setdefault(f"{name}_learner", []).append(kept)
            found.setdefault(name, []).append(arrived)
            wait_for_the_store(objects, version)
    for actor in actors:
        ray.kill(actor)
    medians = {name: round(statistics.median(times[1:]), 3) for name, times in found.items()}
    shares = {
        f"{name}_of_tcp": round(statistics.median(
            tcp / one for tcp, one in zip(found["tcp"][1:], found[name][1:], strict=True)
        ), 2)
        for name in channels
    }  # fmt: skip
    return medians | shares


def wait_for_the_store(channel: ObjectStoreChannel, version: int) -> None:
    """So that one round leaves nothing to the next."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not channel.find(version).box:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def main() -> None:
    mib, rounds, own, other, out = sys.argv[1:]
    ray.init(address=f"{own}:6379", log_to_driver=False)
    deadline = time.monotonic() + WAIT_SECONDS
    while len(nodes := {n["NodeManagerAddress"]: n["NodeID"] for n in ray.nodes()}) < 2:
        assert time.monotonic() < deadline, "the other host did not come"
        time.sleep(0.2)
    found = {
        f"{where}, {count} actors": measured(nodes[address], address, count, int(mib), int(rounds))
        for where, address in (("same host", own), ("other host", other))
        for count in (1, 2)
    }
    write_atomically(Path(out), json.dumps(found))


if __name__ == "__main__":
    main()
