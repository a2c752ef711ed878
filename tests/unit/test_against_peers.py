"""Our maths on the tensors of public implementations: the same figures, the same gradients.

RLlib runs here. TRL's figures were recorded by tests/reference/make_trl.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.algorithms.advantages import gae
from rlhf_service.algorithms.aggregation import token_shares
from rlhf_service.algorithms.groups import group_advantages, leave_one_out
from rlhf_service.algorithms.kl import kl_estimate
from rlhf_service.algorithms.losses import bradley_terry, policy_loss

TRL = json.loads(
    (Path(__file__).parents[1] / "reference" / "trl-0.24.0.json").read_text(encoding="utf-8")
)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def rllib_targets():
    from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

    return compute_value_targets


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    gamma=st.floats(0.5, 1.0),
    lam=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_gae_is_that_of_rllib(rllib_targets, lengths, gamma, lam, seed):
    torch.manual_seed(seed)
    width = max(lengths)
    rewards, values = torch.randn(len(lengths), width), torch.randn(len(lengths), width)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(lengths):
        ended = np.zeros(length, dtype=np.float32)
        ended[-1] = 1
        wanted = rllib_targets(
            values[row, :length].numpy(),
            rewards[row, :length].numpy(),
            ended,
            np.zeros(length, dtype=np.float32),
            gamma,
            lam,
        )
        np.testing.assert_allclose(returns[row, :length].numpy(), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            advantages[row, :length].numpy(),
            wanted - values[row, :length].numpy(),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("case", TRL["dpo"])
def test_dpo_is_that_of_trl(case):
    chosen, rejected, ref_chosen, ref_rejected = map(torch.tensor, case["logps"])
    chosen.requires_grad_()
    rejected.requires_grad_()
    ours = [case["beta"] * (chosen - ref_chosen), case["beta"] * (rejected - ref_rejected)]
    margins = torch.zeros(len(chosen))
    losses = bradley_terry(*ours, margins, label_smoothing=case["label_smoothing"])
    losses.mean().backward()
    torch.testing.assert_close(losses, torch.tensor(case["losses"]), **CLOSE)
    for found, wanted in zip(ours, case["rewards"], strict=True):
        torch.testing.assert_close(found, torch.tensor(wanted), **CLOSE)
    for tensor, wanted in zip((chosen, rejected), case["gradient"], strict=True):
        torch.testing.assert_close(tensor.grad, torch.tensor(wanted), **CLOSE)


@pytest.mark.parametrize("case", TRL["reward"])
def test_the_reward_loss_is_that_of_trl(case):
    chosen = torch.tensor(case["chosen"], requires_grad=True)
    rejected = torch.tensor(case["rejected"], requires_grad=True)
    losses = bradley_terry(chosen, rejected, torch.tensor(case["margins"]))
    losses = losses + case["center_coef"] * (chosen + rejected).square()
    losses.mean().backward()
    assert losses.mean().item() == pytest.approx(case["loss"], rel=1e-5)
    gradient = torch.cat([chosen.grad, rejected.grad])
    torch.testing.assert_close(gradient, torch.tensor(case["gradient"]), **CLOSE)


@pytest.mark.parametrize("case", TRL["grpo_loss"], ids=lambda case: case["aggregation"])
def test_the_clipped_loss_with_its_penalty_is_that_of_trl(case):
    new, old, ref = map(torch.tensor, case["logprobs"])
    new.requires_grad_()
    mask = torch.arange(new.shape[1]) < torch.tensor(case["lengths"])[:, None]
    low, high = case["clip"]
    advantages = torch.tensor(case["advantages"])[:, None].expand_as(new)
    terms = policy_loss(new, old, advantages, clip_low=low, clip_high=high)
    losses = terms.loss + case["kl_coef"] * kl_estimate(new, ref, "k3")
    shares = token_shares(
        mask,
        case["aggregation"],
        tokens=float(mask.sum()),
        sequences=len(new),
        limit=case["limit"],
    )
    loss = (losses * shares).sum()
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    torch.testing.assert_close(new.grad, torch.tensor(case["gradient"]), **CLOSE)


@pytest.mark.parametrize("case", TRL["advantages"], ids=lambda case: case["method"])
def test_advantages_within_a_group_are_those_of_trl(case):
    returns = torch.tensor(case["rewards"])
    groups = torch.arange(len(returns)) // case["group"]
    counts = torch.ones(len(returns), dtype=torch.bool)
    if case["method"] == "rloo":
        found = leave_one_out(returns, groups, counts)
    else:
        found = group_advantages(returns, groups, counts, divide_by_std=True)
    torch.testing.assert_close(found, torch.tensor(case["advantages"]), **CLOSE)
