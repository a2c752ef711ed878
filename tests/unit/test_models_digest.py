"""Digests: equal for equal tensors, different for any difference."""

from __future__ import annotations

import hashlib

import pytest
import torch

from rlhf_service.models.digest import BLOCK, STEP, digests, tensor_digest

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4)])
def test_layout_and_identity_do_not_matter(dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    assert tensor_digest(tensor) == tensor_digest(tensor.clone())
    if tensor.dim() == 2:
        assert tensor_digest(tensor.t().contiguous().t()) == tensor_digest(tensor)


def reckoned(tensor: torch.Tensor) -> str:
    """The digest by Python's whole numbers."""
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    data += bytes(-len(data) % 8)
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    whole = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    for row in range(2):
        total = 0
        for at in range(0, len(words), BLOCK):
            part = words[at : at + BLOCK]
            summed = sum(word * factor(row * BLOCK + place) for place, word in enumerate(part))
            total = (total * STEP + summed) % 2**64
        whole.update(total.to_bytes(8, "little"))
    return whole.hexdigest()


def factor(place: int) -> int:
    mixed = (place + 1) * 0x1E3779B97F4A7C15
    for shift, times in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed = (mixed ^ (signed(mixed) >> shift)) * times
    return (mixed ^ (signed(mixed) >> 31)) | 1


def signed(number: int) -> int:
    """As 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 7, 1000, BLOCK + 3])
def test_it_is_the_sum_that_it_says(dtype, size):
    if size > 1000 and dtype is not torch.int64:
        size = 1001
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(3)).mul(100).to(dtype)
    assert tensor_digest(tensor) == reckoned(tensor)


def test_what_changed_places_shows():
    tensor = torch.arange(64, dtype=torch.int64)
    found = {tensor_digest(tensor)}
    for one in range(64):
        for other in range(one):
            swapped = tensor.clone()
            swapped[[one, other]] = tensor[[other, one]]
            found.add(tensor_digest(swapped))
    assert len(found) == 1 + 64 * 63 // 2


def test_a_part_that_begins_within_a_word_has_the_digest_of_its_copy():
    whole = torch.arange(33, dtype=torch.float32)
    assert tensor_digest(whole[1:]) == tensor_digest(whole[1:].clone())


def test_any_difference_shows():
    zero = torch.zeros(2, 3)
    flipped = zero.clone()
    flipped.view(torch.int32)[1, 2] ^= 1  # the smallest change there is
    variants = [
        zero,
        flipped,
        zero.reshape(3, 2),
        zero.flatten(),
        zero.bfloat16(),
        zero.int(),
        -zero,
    ]
    assert len({tensor_digest(tensor) for tensor in variants}) == len(variants)


def test_parameters_are_digested_by_name():
    layer = torch.nn.Linear(2, 2)
    assert digests(dict(layer.named_parameters())) == digests(layer.state_dict())
