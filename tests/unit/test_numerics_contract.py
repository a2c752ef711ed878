"""The torch maths against the float64 reference: frozen golden vectors, and random small inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.algorithms.advantages import ExplainedVariance, gae
from rlhf_service.algorithms.kl import kl_estimate, next_kl_coef
from rlhf_service.algorithms.logprobs import token_logprobs, token_logprobs_and_entropy
from rlhf_service.algorithms.losses import (
    bradley_terry,
    cross_entropy_sum,
    importance_weights,
    policy_loss,
    value_loss,
)
from rlhf_service.algorithms.masking import Moments, masked_mean, whiten
from rlhf_service.algorithms.rewards import RunningMoments, discounted_return, token_rewards
from tests.reference import ppo_reference as ref
from tests.reference.make_golden import GOLDEN, golden

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def frozen():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def tensor(values) -> torch.Tensor:
    return torch.tensor(values)


def close(found: torch.Tensor, wanted, mask=None) -> None:
    wanted = torch.tensor(wanted)
    if mask is not None:
        found, wanted = found[mask], wanted[mask]
    torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_golden_file_is_what_the_reference_makes():
    assert json.loads(Path(GOLDEN).read_text()) == json.loads(json.dumps(golden()))


def test_golden_vectors(frozen):
    given_ = frozen["inputs"]
    mask = tensor(given_["mask"])
    new, entropy = token_logprobs_and_entropy(
        tensor(given_["logits"]), tensor(given_["tokens"]), 0.7
    )
    close(new, frozen["logprobs"])
    close(
        token_logprobs(tensor(given_["logits"]), tensor(given_["tokens"]), 0.7), frozen["logprobs"]
    )
    close(entropy, frozen["entropy"])
    old, reference = tensor(given_["old"]), tensor(given_["reference"])
    for name in ("k1", "k2", "k3"):
        close(kl_estimate(old, reference, name), frozen["kl"][name])
    rewards = token_rewards(
        tensor(given_["scores"]), kl_estimate(old, reference, "k1"), mask, kl_coef=0.1
    )
    close(rewards, frozen["rewards"])
    close(discounted_return(rewards, mask, 0.98), frozen["discounted_return"])
    values = tensor(given_["values"])
    advantages, returns = gae(rewards, values, mask, 0.98, 0.9)
    close(advantages, frozen["advantages"])
    close(returns, frozen["returns"])
    moments = Moments.of(advantages, mask)
    white = whiten(advantages, mask, moments)
    close(white, frozen["whitened"])
    kept = whiten(advantages, mask, moments, shift_mean=False)
    close(kept, frozen["whitened_keeping_mean"])
    terms = policy_loss(new, old, white, clip_low=0.2, clip_high=0.28, dual_clip=3.0)
    close(masked_mean(terms.loss, mask), frozen["policy_loss"])
    value_terms = value_loss(tensor(given_["new_values"]), values, returns, clip=0.2)
    close(masked_mean(value_terms.loss, mask), frozen["value_loss"])
    close(importance_weights(old, tensor(given_["sampler"]), 1.2), frozen["weights"])
    coefs = [next_kl_coef(0.1, k, 6.0, 10_000, 64) for k in (0.0, 5.9, 6.0, 6.6, 60.0)]
    assert coefs == pytest.approx(frozen["next_kl_coef"], rel=1e-12)
    pairs = torch.tensor([(1.0, 0.0, 0.0), (0.0, 1.0, 0.5), (3.0, -2.0, 1.0)])
    close(bradley_terry(*pairs.T), frozen["bradley_terry"])


floats = st.floats(-3, 3, allow_nan=False, width=32)


@st.composite
def rows(draw):
    """Rewards, values and a mask with holes, for one row."""
    length = draw(st.integers(1, 12))
    mask = draw(st.lists(st.booleans(), min_size=length, max_size=length).filter(any))
    numbers = st.lists(floats, min_size=length, max_size=length)
    return draw(numbers), draw(numbers), mask


@settings(deadline=None, max_examples=60)
@given(rows(), st.floats(0.5, 1), st.floats(0, 1))
def test_gae_is_the_loop(row, gamma, lam):
    rewards, values, mask = row
    found = gae(tensor([rewards]), tensor([values]), tensor([mask]), gamma, lam)
    wanted = ref.gae(rewards, values, mask, gamma, lam)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one[0], torch.tensor(two), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(rows(), st.floats(-100, 100, width=32))
def test_values_outside_the_response_never_matter(row, intruder):
    rewards, values, mask = row
    here = tensor([mask])
    clean = gae(tensor([rewards]), tensor([values]), here, 0.99, 0.9)
    dirty = torch.where(here, tensor([values]), torch.tensor(intruder))
    for one, two in zip(clean, gae(tensor([rewards]), dirty, here, 0.99, 0.9), strict=True):
        assert torch.equal(one, two)


def test_gae_steps_over_tool_tokens():
    """Three action, twenty tool and three action tokens, reward 1 at the end: +.387 at λ = .95."""
    mask = torch.tensor([[True] * 3 + [False] * 20 + [True] * 3])
    values = torch.where(mask, 0.5, 0.7)
    rewards = torch.zeros(1, 26)
    rewards[0, -1] = 1.0
    advantages, _ = gae(rewards, values, mask, 1.0, 0.95)
    assert float(advantages[0, 0]) == pytest.approx(0.387, abs=5e-4)


@pytest.mark.parametrize(
    ("advantage", "ratio", "moves"),
    [
        (+1, 0.5, True),
        (+1, 1.0, True),
        (+1, 1.5, False),
        (-1, 0.5, False),
        (-1, 1.0, True),
        (-1, 1.5, True),
    ],
)
def test_clipping_sign_table(advantage, ratio, moves):
    new = torch.tensor([math.log(ratio)], requires_grad=True)
    terms = policy_loss(
        new, torch.zeros(1), torch.tensor([float(advantage)]), clip_low=0.2, clip_high=0.2
    )
    terms.loss.sum().backward()
    assert (new.grad.abs() > 1e-6).item() is moves
    assert bool(terms.clipped_low | terms.clipped_high) is not moves
    if moves:
        assert math.copysign(1, float(-new.grad)) == advantage


def test_dual_clip_bounds_the_loss_of_bad_tokens_only():
    new = torch.tensor([math.log(10.0)] * 2)
    advantages = torch.tensor([-1.0, 1.0])
    terms = policy_loss(new, torch.zeros(2), advantages, clip_low=0.2, clip_high=0.2, dual_clip=3.0)
    assert terms.loss.tolist() == pytest.approx([3.0, -1.2])


def test_k1_is_unbiased_k3_is_positive_and_unbiased_by_enumeration():
    torch.manual_seed(0)
    policy, reference = (torch.randn(7).log_softmax(0) for _ in range(2))
    exact = (policy.exp() * (policy - reference)).sum()
    for name in ("k1", "k3"):
        estimates = kl_estimate(policy, reference, name)
        torch.testing.assert_close((policy.exp() * estimates).sum(), exact)
    assert (kl_estimate(policy, reference, "k3") >= 0).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(floats, min_size=1, max_size=6), min_size=1, max_size=5))
def test_running_moments_do_not_depend_on_the_split(batches):
    state = RunningMoments()
    for batch in batches:
        values = torch.tensor(batch)
        state = state.merge(Moments.of(values, torch.ones_like(values, dtype=torch.bool)))
    every = torch.tensor([v for batch in batches for v in batch]).double()
    assert state.count == len(every)
    assert state.mean == pytest.approx(float(every.mean()), abs=1e-6)
    assert state.m2 == pytest.approx(float((every - every.mean()).square().sum()), abs=1e-4)


def test_whitening_is_global_not_per_rank():
    torch.manual_seed(1)
    values, mask = torch.randn(4, 5), torch.rand(4, 5) > 0.3
    whole = whiten(values, mask, Moments.of(values, mask))
    parts = [Moments.of(values[i : i + 2], mask[i : i + 2]).as_tensor() for i in (0, 2)]
    together = Moments.from_tensor(parts[0] + parts[1])
    sharded = [whiten(values[i : i + 2], mask[i : i + 2], together) for i in (0, 2)]
    torch.testing.assert_close(torch.cat(sharded), whole)


def test_explained_variance_adds_up_over_ranks():
    torch.manual_seed(2)
    returns, values = torch.randn(4, 6), torch.randn(4, 6)
    mask = torch.rand(4, 6) > 0.2
    error = (returns - values)[mask].double()
    wanted = 1 - error.var(unbiased=False) / returns[mask].double().var(unbiased=False)
    parts = [
        ExplainedVariance.of(values[i : i + 2], returns[i : i + 2], mask[i : i + 2]).as_tensor()
        for i in (0, 2)
    ]
    assert ExplainedVariance.from_tensor(parts[0] + parts[1]).value == pytest.approx(float(wanted))


def test_cross_entropy_sum_is_the_masked_sum_of_logprobs():
    torch.manual_seed(3)
    logits, targets = torch.randn(2, 4, 6), torch.randint(6, (2, 4))
    mask = torch.tensor([[True, False, True, True], [False, False, True, False]])
    summed, count = cross_entropy_sum(logits, targets, mask)
    torch.testing.assert_close(summed, -token_logprobs(logits, targets)[mask].sum())
    assert count == 4


def test_policy_gradient_is_the_derivative_of_expected_reward():
    """On a language of 3 tokens × 2 steps, enumerated: the on-policy PPO gradient is exact."""
    torch.manual_seed(4)
    theta = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)  # step, previous, next
    reward = torch.randn(3, 3, dtype=torch.float64)

    def expected(parameters: torch.Tensor) -> torch.Tensor:
        first = parameters[0, 0].softmax(0)
        second = parameters[1].softmax(1)
        return (first[:, None] * second * reward).sum()

    [exact] = torch.autograd.grad(expected(theta), theta)
    loss = torch.zeros((), dtype=torch.float64)
    for a in range(3):
        for b in range(3):
            new = torch.stack([theta[0, 0].log_softmax(0)[a], theta[1, a].log_softmax(0)[b]])
            advantages = torch.full((2,), float(reward[a, b]), dtype=torch.float64)
            terms = policy_loss(new, new.detach(), advantages, clip_low=0.2, clip_high=0.2)
            loss = loss + new.detach().sum().exp() * terms.loss.sum()
    [estimated] = torch.autograd.grad(-loss, theta)
    torch.testing.assert_close(estimated, exact, rtol=1e-9, atol=1e-12)
