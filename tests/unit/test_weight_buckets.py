"""Networks are sent in buckets and come out as they went in."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.weights.buckets import ALIGNED, empty_buckets, fill, laid_out, tensors_in

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
networks = st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=8)


def network(kinds) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        f"layer.{n}": (torch.randn(shape) * 100).to(dtype) for n, (shape, dtype) in enumerate(kinds)
    }


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten().view(torch.uint8)


@given(networks, st.integers(1, 400))
def test_every_tensor_survives_to_the_bit(kinds, most):
    sent = network(kinds)
    layout = laid_out(sent, most)
    filled, received = empty_buckets(layout, CPU), empty_buckets(layout, CPU)
    fill(layout, filled, sent)
    for here, there in zip(filled, received, strict=True):
        there.copy_(here)
    found = tensors_in(layout, received)
    assert list(found) == list(sent)
    for name, tensor in sent.items():
        assert found[name].dtype is tensor.dtype and found[name].shape == tensor.shape
        assert torch.equal(bits(found[name]), bits(tensor))


@given(networks, st.integers(1, 400))
def test_places_are_apart_aligned_and_in_buckets_no_larger_than_asked(kinds, most):
    tensors = network(kinds)
    layout = laid_out(tensors, most)
    ends = [0] * len(layout.sizes)
    for place in layout.places:
        assert place.offset % ALIGNED == 0 and place.offset >= ends[place.bucket]
        ends[place.bucket] = place.offset + tensors[place.name].nbytes
    assert all(end <= size for end, size in zip(ends, layout.sizes, strict=True))
    alone = [
        sum(p.bucket == n for p in layout.places if tensors[p.name].numel()) == 1
        for n in range(len(ends))
    ]
    assert all(size <= most or one for size, one in zip(layout.sizes, alone, strict=True))


def test_later_changes_of_the_network_stay_out():
    weight = torch.ones(4, 4)
    layout = laid_out({"w": weight})
    buckets = empty_buckets(layout, CPU)
    fill(layout, buckets, {"w": weight})
    weight.zero_()
    assert tensors_in(layout, buckets)["w"].sum() == 16
