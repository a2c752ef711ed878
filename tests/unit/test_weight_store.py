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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_survive_the_trip_to_the_bit(dtype):
    tensor = (torch.randn(3, 5) * 100).to(dtype)
    array = _to_array(tensor)
    frozen = np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)
    back = _to_tensor(frozen, str(dtype))
    assert back.dtype is dtype and torch.equal(back, tensor)
