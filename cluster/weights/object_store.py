"""The WeightChannel port over Ray's object store: pulled by version, verified by digest.

The learner's rank 0 owns the tensors; a small actor knows which version lies where. A rollout actor
that restarts asks it and catches up by itself; the learner waits for nobody.
"""

from __future__ import annotations

import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import ray
import torch

from cluster.weights.store import Published
from rlhf_service.errors import WeightsUnavailable
from rlhf_service.newest import Newest
from rlhf_service.ports import KEPT_VERSIONS, WeightSnapshot

Box = tuple[ray.ObjectRef, ...]

FETCH_SECONDS = 60.0
PUBLISH_SECONDS = 180.0
"""For a store that hangs or died to be replaced."""
PAUSE_SECONDS = 0.5


class ObjectStoreChannel:
    """Either end of the channel."""

    def __init__(self, store: ray.actor.ActorHandle, kept: int = KEPT_VERSIONS) -> None:
        self._store, self.kept = store, kept
        self._published: Newest[Published] = Newest()
        """By the publishing end."""
        self._line, self._place = uuid.uuid4().hex, 0
        self._telling = threading.Lock()
        """Who samples ahead may find the store restarted while a version is published."""

    def publish(self, snapshot: WeightSnapshot) -> None:
        with self._telling:
            self._put(self._next(snapshot.version, snapshot.digests, snapshot.tensors))

    def announce(self, version: int, digests: Mapping[str, str]) -> None:
        """Say that the version is on its way to the actors; `deliver` follows."""
        with self._telling:
            self._put(self._next(version, digests, None))

    def deliver(self, snapshot: WeightSnapshot) -> None:
        """What was announced; nothing happens if newer ones have taken its place meanwhile."""
        with self._telling:
            announced = self._published.find(snapshot.version)
            if announced is None or announced.box or announced.digests != snapshot.digests:
                return
        dtypes, box = _stored(snapshot.tensors)
        found = replace(announced, dtypes=dtypes, box=box)
        with self._telling:
            if self._published.find(snapshot.version) is announced:
                self._published.replace(snapshot.version, found)
                self._tell([found])

    def _next(
        self,
        version: int,
        digests: Mapping[str, str],
        tensors: Mapping[str, torch.Tensor] | None,
    ) -> Published:
        self._place += 1
        dtypes, box = ({}, ()) if tensors is None else _stored(tensors)
        return Published(
            version=version,
            digests=dict(digests),
            dtypes=dtypes,
            box=box,
            line=self._line,
            place=self._place,
        )

    def _put(self, published: Published) -> None:
        self._published.put(published.version, published, self.kept)
        self._tell([published])

    def republish(self) -> None:
        """Tell the store again, in case it restarted. Only the publishing end has anything to tell."""
        with self._telling:
            self._tell(self._published.all())

    def _tell(self, found: Sequence[Published]) -> None:
        told(lambda: [self._store.publish.remote(one, self.kept) for one in found])

    def fetch(self, version: int) -> WeightSnapshot:
        found = self.find(version)
        if not found.box:
            raise WeightsUnavailable(f"version {version} is on its way, not in the object store")
        return self.opened(found)

    def find(self, version: int) -> Published:
        """Where it lies. Raises WeightsUnavailable."""
        found = self._published.find(version)
        if found is None:
            with _unavailable(version):
                found = ray.get(self._store.find.remote(version), timeout=FETCH_SECONDS)
        if found is None:
            raise WeightsUnavailable(f"version {version} is not published")
        return found

    def opened(self, found: Published) -> WeightSnapshot:
        """What lies there. Raises WeightsUnavailable."""
        with _unavailable(found.version):
            arrays = ray.get(found.box[0], timeout=FETCH_SECONDS)
        tensors = {name: _to_tensor(array, found.dtypes[name]) for name, array in arrays.items()}
        return WeightSnapshot(found.version, found.digests, tensors)


@contextmanager
def _unavailable(version: int) -> Iterator[None]:
    try:
        yield
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as fault:
        raise WeightsUnavailable(f"version {version} could not be fetched: {fault}") from fault


def _stored(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], Box]:
    """Puts them into the object store: their dtypes, and where they lie."""
    arrays = {name: _to_array(tensor) for name, tensor in tensors.items()}
    dtypes = {name: str(tensor.dtype) for name, tensor in tensors.items()}
    return dtypes, (ray.put(arrays),)


def told(tell: Callable[[], list[ray.ObjectRef]]) -> None:
    """Tell the store, again while it is being replaced. Raises WeightsUnavailable."""
    deadline = time.monotonic() + PUBLISH_SECONDS
    while True:
        try:
            ray.get(tell(), timeout=FETCH_SECONDS)
            return
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as fault:
            if time.monotonic() > deadline:
                raise WeightsUnavailable(
                    f"the weight store took nothing for {PUBLISH_SECONDS:g} s: {fault}"
                ) from fault
        time.sleep(PAUSE_SECONDS)


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    """NumPy has no bfloat16: its bits travel as int16."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _to_tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    kind: torch.dtype = getattr(torch, dtype.removeprefix("torch."))
    with warnings.catch_warnings():
        # Torch warns of read-only memory; the engine copies from it and never writes to it.
        warnings.simplefilter("ignore", UserWarning)
        return torch.frombuffer(array.data.cast("B"), dtype=kind).view(array.shape)
