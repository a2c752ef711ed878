"""Digests: equal for equal tensors, different for any difference."""

from __future__ import annotations

import hashlib

import pytest
import torch

from rlhf_service.models.digest import digests, tensor_digest

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4)])
def test_layout_and_identity_do_not_matter(dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    assert tensor_digest(tensor) == tensor_digest(tensor.clone())
    if tensor.dim() == 2:
        assert tensor_digest(tensor.t().contiguous().t()) == tensor_digest(tensor)


def test_it_is_blake2b_of_dtype_shape_and_bytes():
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    wanted = hashlib.blake2b(b"torch.float32(2, 3)" + tensor.numpy().tobytes(), digest_size=16)
    assert tensor_digest(tensor) == wanted.hexdigest()


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
