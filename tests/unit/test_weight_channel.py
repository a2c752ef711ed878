"""The channel within one process."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.errors import WeightsUnavailable
from rlhf_service.models.digest import digests
from rlhf_service.ports import WeightSnapshot
from rlhf_service.testing import InProcessChannel


def test_a_channel_within_one_process_forgets_old_versions():
    """Or a long stage in one process would keep every policy it ever had."""
    channel = InProcessChannel()
    for version in (1, 2, 3, 5, 4):
        tensors = {"weight": torch.full((2,), float(version))}
        channel.publish(WeightSnapshot(version, digests(tensors), tensors))
    assert channel.fetch(4).tensors["weight"].tolist() == [4, 4]
    assert channel.fetch(5).version == 5
    with pytest.raises(WeightsUnavailable):
        channel.fetch(3)
