"""The WeightChannel port over broadcasts to the rollout actors, with the object store behind them.

A version is copied into buckets, announced, and broadcast by a thread (courier.py); then it is put into
the object store, where actors find it that were not there, learners that save it, and whoever asks
after a broadcast broke off.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import ray
import torch

from cluster.weights.buckets import empty_buckets, fill, laid_out, tensors_in
from cluster.weights.courier import Courier, Parcel
from cluster.weights.object_store import ObjectStoreChannel
from rlhf_service.events import Event, Log
from rlhf_service.learner.backend import BACKENDS
from rlhf_service.ports import WeightSnapshot


class CollectiveChannel:
    """The publishing end."""

    def __init__(
        self,
        behind: ObjectStoreChannel,
        actors: Sequence[ray.actor.ActorHandle],
        device: str,
        emit: Callable[[Event], None],
    ) -> None:
        """`device`: cuda when learners and actors all compute on GPUs, each on its own; else cpu."""
        self._behind, self._device = behind, torch.device(device)
        self._courier = Courier(
            actors,
            BACKENDS[device],
            behind.kept,
            lambda parcel: behind.deliver(opened(parcel)),
            lambda level, message: emit(Log(level=level, message=message)),
        )
        weakref.finalize(self, self._courier.end).atexit = False

    def publish(self, snapshot: WeightSnapshot) -> None:
        layout = laid_out(snapshot.tensors)
        buckets = self._courier.spare(layout) or empty_buckets(layout, self._device)
        fill(layout, buckets, snapshot.tensors)
        self._behind.announce(snapshot.version, snapshot.digests)
        self._courier.take(Parcel(snapshot.version, dict(snapshot.digests), layout, buckets))

    def republish(self) -> None:
        """Tell the store again, in case it restarted."""
        self._behind.republish()

    def fetch(self, version: int) -> WeightSnapshot:
        under_way = self._courier.find(version)
        if under_way is None:
            return self._behind.fetch(version)
        views = opened(under_way)  # of buckets that are filled again later
        copies = {name: tensor.clone() for name, tensor in views.tensors.items()}
        return WeightSnapshot(version, views.digests, copies)


def opened(parcel: Parcel) -> WeightSnapshot:
    """What it holds, as views."""
    return WeightSnapshot(parcel.version, parcel.digests, tensors_in(parcel.layout, parcel.buckets))
