"""Matrix products, memory, losses and draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

from rlhf_service.algorithms.logprobs import token_logprobs
from rlhf_service.algorithms.losses import cross_entropy_sum
from rlhf_service.planning.calibration.clock import fastest
from rlhf_service.planning.device import Loss, LossCost
from rlhf_service.rollout.sampling import draw

SLOW = 0.1
"""Seconds; larger products than one that takes so long are no faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Tensors large enough for a kind of device to show its speed."""

    products: tuple[int, ...]
    """Sides of the matrices."""
    rows: tuple[int, ...]
    """Rows of products with whole matrices, as decoding steps make them."""
    filling: int
    """Numbers in each operand of small products, of which so many are made at once."""
    copied: int
    """Numbers in a buffer far beyond any cache."""
    losses: tuple[int, int]
    """Rows and vocabulary of logits with a loss."""
    draws: tuple[int, int]
    """The same of logits that are drawn from."""


SIZES = {
    "cpu": Sizes(
        products=(16, 32, 64, 128, 256, 512, 1024),
        rows=(1, 8, 64),
        filling=0,
        copied=2**24,
        losses=(256, 4096),
        draws=(16, 4096),
    ),
    "cuda": Sizes(
        products=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
        rows=(),  # a GPU reads the matrix as it lies, so its bandwidth says what they take
        filling=2**24,
        copied=2**28,
        losses=(1024, 2**15),
        draws=(64, 2**15),
    ),
}
"""One small product leaves most of a GPU idle, and its launch takes longer than its arithmetic.
Attention makes many at once, and launches count among a layer's calls, so there many are measured at
once.
"""

BATCH = 4096
"""Most products at once."""


def matmul_curve(
    dtype: torch.dtype, device: torch.device, backward: bool = False
) -> tuple[tuple[float, float], ...]:
    """(n, operations a second) of n × n × n products; of the two that a backward pass makes of each."""
    found, sizes = [], SIZES[device.type]
    for size in sizes.products:
        count = max(1, min(BATCH, sizes.filling // size**2))
        work = products(count, size, dtype, device, backward)
        seconds = fastest(work, device, seconds=0.05) / (2 if backward else 1)
        found.append((float(size), 2.0 * count * size**3 / seconds))
        if seconds > SLOW:
            break
    return tuple(found)


WHOLE = (64, 256, 1024, 2048)
"""Sides of the matrices that few rows are multiplied with."""
CYCLE = 2**25
"""Bytes of as many of them as take turns."""
TURNS = 8
"""Products between two looks at the clock."""


def matmul_rows(
    dtype: torch.dtype, device: torch.device
) -> dict[int, tuple[tuple[float, float], ...]]:
    """By rows m, (n, operations a second) of m × n × n products."""
    return {
        rows: tuple((float(n), rate_of_rows(rows, n, dtype, device)) for n in WHOLE)
        for rows in SIZES[device.type].rows
    }


def rate_of_rows(rows: int, size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of products with one matrix after the other, as a network has them: none is
    still in the cache when its turn comes again."""
    few = torch.randn(rows, size, device=device).to(dtype)
    count = max(TURNS, CYCLE // (few.itemsize * size**2))
    turns = itertools.cycle(torch.randn(count, size, size, device=device).to(dtype))

    def several() -> None:
        for matrix in itertools.islice(turns, TURNS):
            linear(few, matrix)

    return TURNS * 2.0 * rows * size**2 / fastest(several, device, seconds=0.05)


def products(
    count: int, size: int, dtype: torch.dtype, device: torch.device, backward: bool
) -> Callable[[], object]:
    """Makes `count` products at once, or as many for the inputs and for the weights."""
    shape = (size, size) if count == 1 else (count, size, size)
    one = torch.randn(shape, device=device).to(dtype)
    other = torch.randn(shape, device=device).to(dtype)
    # Operands as autograd lays them out: some libraries are much slower with one layout.
    if backward:
        return lambda: (one @ other, one.mT @ other)
    if count == 1:
        return lambda: linear(one, other)
    return lambda: torch.bmm(one, other)


def bandwidth(device: torch.device) -> float:
    """Bytes copied in a second, far beyond any cache."""
    source = torch.zeros(SIZES[device.type].copied, device=device)
    target = torch.zeros_like(source)
    return source.nbytes / fastest(lambda: target.copy_(source), device)


def digest_rate(device: torch.device) -> float:
    """Bytes a second of the digest of a published tensor, its way to the host included."""
    from rlhf_service.models.digest import tensor_digest

    tensor = torch.zeros(2**21, device=device)
    return tensor.nbytes / fastest(lambda: tensor_digest(tensor), device)


def loss_costs(dtype: torch.dtype, device: torch.device) -> dict[Loss, LossCost]:
    """Seconds for each logit of the losses in use."""
    rows, vocab = SIZES[device.type].losses
    logits = torch.randn(rows, vocab, device=device).to(dtype).requires_grad_()
    tokens = torch.randint(0, vocab, (rows,), device=device)
    mask = torch.ones(rows, dtype=torch.bool, device=device)

    def language() -> torch.Tensor:
        return cross_entropy_sum(logits, tokens, mask)[0]

    def policy() -> torch.Tensor:
        return token_logprobs(logits, tokens).sum()

    def cost(loss: Callable[[], torch.Tensor]) -> LossCost:
        forward = fastest(loss, device) / logits.numel()
        both = fastest(lambda: torch.autograd.backward(loss()), device) / logits.numel()
        return LossCost(forward=forward, backward=max(0.0, both - forward))

    return {"language": cost(language), "policy": cost(policy)}


def draw_cost(device: torch.device) -> float:
    """Seconds to draw from one logit."""
    rows, vocab = SIZES[device.type].draws
    logits = torch.randn(rows, vocab, device=device)
    noise = torch.rand(rows, dtype=torch.float64, device=device)
    return fastest(lambda: draw(logits, noise, 1.0), device) / logits.numel()
