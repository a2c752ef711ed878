"""The weight store keeps what was published last, whatever its number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cluster.weights.object_store import _to_array, _to_tensor
from cluster.weights.store import Published, WeightStore


def version(number: int) -> Published:
    return Published(version=number, digests={}, dtypes={}, box=(None,))


def test_learners_that_went_back_to_a_checkpoint_are_served():
    store = WeightStore()
    for number in (1, 2, 3, 4, 5):
        store.publish(version(number), kept=2)
    assert store.find(3) is None and store.find(4) and store.find(5)
    store.publish(version(1), kept=2)  # the group restarted from the beginning
    assert store.find(1) is not None
    store.publish(version(2), kept=2)
    assert store.find(1) and store.find(2) and store.find(5) is None


def at(number: int, line: str, place: int, box=(None,)) -> Published:
    return Published(version=number, digests={}, dtypes={}, box=box, line=line, place=place)


def test_what_was_announced_is_filled_in_its_place():
    store = WeightStore()
    store.publish(at(1, "a", 1, box=()), kept=2)
    store.publish(at(2, "a", 2, box=()), kept=2)
    store.publish(at(1, "a", 1), kept=2)  # later than version 2 was announced
    assert store.find(1).box and not store.find(2).box
    store.publish(at(3, "a", 3, box=()), kept=2)
    assert store.find(1) is None and store.find(2) is not None


def test_who_is_late_changes_nothing():
    store = WeightStore()
    for place in (1, 2, 3):
        store.publish(at(place, "a", place, box=()), kept=2)
    store.publish(at(1, "a", 1), kept=2)
    assert store.find(1) is None and store.find(2) is not None
    store.publish(at(2, "b", 1, box=()), kept=2)  # the next stage begins
    store.publish(at(2, "a", 2), kept=2)
    assert store.find(2).line == "b" and not store.find(2).box


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_survive_the_trip_to_the_bit(dtype):
    tensor = (torch.randn(3, 5) * 100).to(dtype)
    array = _to_array(tensor)
    frozen = np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)
    back = _to_tensor(frozen, str(dtype))
    assert back.dtype is dtype and torch.equal(back, tensor)
