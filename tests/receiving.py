"""A rollout actor as far as weights are concerned, for tests and benchmarks of their channels."""

from __future__ import annotations

import ray

from cluster.weights.object_store import ObjectStoreChannel
from cluster.weights.receiver import Delivery, Receiver
from rlhf_service.ports import WeightSnapshot


class Receiving:
    """The calls about weights that a learner's courier makes."""

    def __init__(self, store: ray.actor.ActorHandle) -> None:
        self.receiver = Receiver(ObjectStoreChannel(store), "cpu")

    def stand_by(self) -> None: ...

    def receive(self, delivery: Delivery) -> str | None:
        return self.receiver.receive(delivery)

    def leave(self, group: str) -> None:
        self.receiver.leave(group)


def came_by_broadcast(snapshot: WeightSnapshot) -> bool:
    """Whether its tensors, of which there are several, lie in one bucket or few."""
    lying = {tensor.untyped_storage().data_ptr() for tensor in snapshot.tensors.values()}
    return len(lying) < len(snapshot.tensors)
