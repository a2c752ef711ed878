"""Matrix products, memory, losses and draws."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rlhf_service.algorithms.logprobs import token_logprobs
from rlhf_service.algorithms.losses import cross_entropy_sum
from rlhf_service.planning.calibration.clock import fastest
from rlhf_service.planning.device import Loss, LossCost
from rlhf_service.rollout.sampling import draw

SLOW = 0.1
"""Seconds; larger products than one that takes so long are no faster."""

SIZES = (16, 32, 64, 128, 256, 512, 1024)


def matmul_curve(dtype: torch.dtype) -> tuple[tuple[float, float], ...]:
    """(n, operations a second) of n × n × n products."""
    found = []
    for size in SIZES:
        one, other = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        seconds = fastest(lambda a=one, b=other: torch.nn.functional.linear(a, b), seconds=0.05)  # type: ignore[misc]
        found.append((float(size), 2.0 * size**3 / seconds))
        if seconds > SLOW:
            break
    return tuple(found)


def bandwidth() -> float:
    """Bytes copied in a second, far beyond any cache."""
    source = torch.zeros(2**24)
    target = torch.zeros_like(source)
    return source.nbytes / fastest(lambda: target.copy_(source))


def digest_rate() -> float:
    """Bytes a second of the digest of a published tensor."""
    from rlhf_service.models.digest import tensor_digest

    tensor = torch.zeros(2**21)
    return tensor.nbytes / fastest(lambda: tensor_digest(tensor))


def loss_costs(dtype: torch.dtype) -> dict[Loss, LossCost]:
    """Seconds for each logit of the losses in use."""
    rows, vocab = 256, 4096
    logits = torch.randn(rows, vocab).to(dtype).requires_grad_()
    tokens, mask = torch.randint(0, vocab, (rows,)), torch.ones(rows, dtype=torch.bool)

    def language() -> torch.Tensor:
        return cross_entropy_sum(logits, tokens, mask)[0]

    def policy() -> torch.Tensor:
        return token_logprobs(logits, tokens).sum()

    def cost(loss: Callable[[], torch.Tensor]) -> LossCost:
        forward = fastest(loss) / logits.numel()
        both = fastest(lambda: torch.autograd.backward(loss())) / logits.numel()
        return LossCost(forward=forward, backward=max(0.0, both - forward))

    return {"language": cost(language), "policy": cost(policy)}


def draw_cost() -> float:
    """Seconds to draw from one logit."""
    rows, vocab = 16, 4096
    logits, noise = torch.randn(rows, vocab), torch.rand(rows, dtype=torch.float64)
    return fastest(lambda: draw(logits, noise, 1.0)) / logits.numel()
