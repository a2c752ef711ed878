"""What is learnt from responses of older weights."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from rlhf_service.algorithms.losses import importance_weights, policy_loss


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_stale_sampler_still_climbs_to_the_best_answer(lag):
    """A language of 3 tokens × 2 steps; each update is the estimator's exact mean, by enumeration."""
    torch.manual_seed(4)
    theta = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)  # step, previous, next
    reward = torch.randn(3, 3, dtype=torch.float64)
    everything = list(product(range(3), range(3)))
    values = torch.stack([reward[a, b] for a, b in everything])

    def logprobs(at):
        rows = [
            torch.stack([at[0, 0].log_softmax(0)[a], at[1, a].log_softmax(0)[b]])
            for a, b in everything
        ]
        return torch.stack(rows)

    def expected():
        return float((logprobs(theta.detach()).sum(1).exp() * values).sum())

    before, versions, optimizer = expected(), [], torch.optim.Adam([theta], lr=0.15)
    for _ in range(40):
        versions.append(theta.detach().clone())
        sampler = logprobs(versions[max(0, len(versions) - 1 - lag)])
        drawn = sampler.sum(1).exp()  # how often each response comes
        old = logprobs(theta.detach())
        weights = importance_weights(old, sampler, 2.0)
        advantages = (values - (drawn * values).sum())[:, None].expand(-1, 2)
        for _ in range(2):
            terms = policy_loss(logprobs(theta), old, advantages, clip_low=0.2, clip_high=0.2)
            optimizer.zero_grad()
            (drawn[:, None] * weights * terms.loss).sum().backward()
            optimizer.step()
    best = float(values.max())
    assert before < best - 0.5 and expected() > best - 0.1, (before, expected(), best)
