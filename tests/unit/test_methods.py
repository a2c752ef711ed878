"""Critic-free credit against loops, against the exact gradient, and the methods' settings."""

from __future__ import annotations

import math
import statistics
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_service.algorithms.groups import (
    EPSILON,
    equal_groups,
    group_advantages,
    leave_one_out,
    returns_to_go,
)
from rlhf_service.algorithms.losses import policy_loss
from rlhf_service.algorithms.rewards import RunningMoments, overlong_penalty
from rlhf_service.batch import ExperienceBatch, Recall
from rlhf_service.credit import assign_credit
from rlhf_service.learner.group import SoloGroup
from rlhf_service.spec.advantage import GroupAdvantage
from rlhf_service.spec.methods import DEFAULTS
from rlhf_service.spec.ppo import KlSpec, PpoSpec
from rlhf_service.spec.stages import PpoStage

rows = st.lists(
    st.tuples(st.floats(-5, 5, width=32), st.integers(0, 3), st.booleans()), min_size=1, max_size=12
)


def columns(rows):
    returns, groups, counts = zip(*rows, strict=True)
    return torch.tensor(returns), torch.tensor(groups), torch.tensor(counts)


def members(rows, row):
    """Returns of the row's group that count."""
    return [r for r, group, counts in rows if group == rows[row][1] and counts]


@given(rows)
def test_group_advantages_are_the_loop(rows):
    plain = group_advantages(*columns(rows), divide_by_std=False)
    scaled = group_advantages(*columns(rows), divide_by_std=True)
    for row, (value, _, counts) in enumerate(rows):
        if not counts:
            assert plain[row] == 0 and scaled[row] == 0
            continue
        group = members(rows, row)
        wanted = value - statistics.fmean(group)
        deviation = statistics.stdev(group) if len(group) > 1 else 0.0
        assert float(plain[row]) == pytest.approx(wanted, abs=1e-5)
        assert float(scaled[row]) == pytest.approx(
            wanted / (deviation + EPSILON), rel=1e-3, abs=2e-2
        )


@given(rows)
def test_leave_one_out_is_the_loop(rows):
    found = leave_one_out(*columns(rows))
    for row, (value, _, counts) in enumerate(rows):
        others = members(rows, row)
        if not counts or len(others) < 2:
            assert found[row] == 0
            continue
        others.remove(value)
        assert float(found[row]) == pytest.approx(value - statistics.fmean(others), abs=1e-4)


@given(rows)
def test_equal_groups_are_counted(rows):
    groups = {g for _, g, counts in rows if counts}
    equal = [g for g in groups if len({r for r, h, c in rows if h == g and c}) == 1]
    assert equal_groups(*columns(rows)) == (len(equal), len(groups))


@given(
    st.lists(st.tuples(st.floats(-3, 3, width=32), st.booleans()), min_size=1, max_size=8),
    st.sampled_from([1.0, 0.9]),
)
def test_returns_to_go_skip_tokens_of_others(tokens, gamma):
    rewards, mask = zip(*tokens, strict=True)
    found = returns_to_go(torch.tensor([rewards]), torch.tensor([mask]), gamma)[0]
    own = [t for t, here in enumerate(mask) if here]
    for t in range(len(tokens)):
        later = [rewards[u] for u in own if u >= t]
        wanted = sum(gamma**k * r for k, r in enumerate(later)) if t in own else 0.0
        assert float(found[t]) == pytest.approx(wanted, abs=1e-4)


def test_overlong_penalty_rises_over_the_buffer():
    lengths = torch.tensor([0, 12, 14, 16, 18, 20])
    found = overlong_penalty(lengths, limit=20, buffer=8, penalty=2.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.5, 2.0]))


def test_defaults_complete_sections_given_as_objects_too():
    common = {"prompts": {"path": "/p"}, "reward": {"type": "length", "target": 3}}
    as_object = PpoStage(type="rloo", ppo=PpoSpec(kl=KlSpec(coef=0.01)), **common)
    as_mapping = PpoStage.model_validate({"type": "rloo", "ppo": {"kl": {"coef": 0.01}}, **common})
    assert as_object == as_mapping
    assert as_object.ppo.advantage.type == "leave_one_out" and as_object.ppo.kl.coef == 0.01
    other = PpoSpec(advantage=GroupAdvantage(divide_by_std=False))
    kept = PpoStage(type="rloo", ppo=other, **common)
    assert kept.ppo.advantage == GroupAdvantage(divide_by_std=False)


def toy_batch(sequences, reward):
    """Full-length responses of two tokens to one prompt."""
    size = len(sequences)
    return ExperienceBatch(
        prompt_ids=((0,),) * size,
        response_ids=torch.tensor(sequences),
        response_mask=torch.ones(size, 2, dtype=torch.bool),
        sampler_logprobs=torch.zeros(size, 2),
        scores=torch.tensor([float(reward[a, b]) for a, b in sequences]),
        scored=torch.ones(size, dtype=torch.bool),
        truncated=torch.zeros(size, dtype=torch.bool),
        groups=torch.zeros(size, dtype=torch.long),
        temperature=1.0,
    )


UNWHITENED = {
    "leave_one_out": ({"type": "leave_one_out"}, 1.0),
    # A group's own member is part of its mean, which shrinks the gradient by 1 − 1/G.
    "group": ({"type": "group", "divide_by_std": False}, 0.5),
    "return_to_go": ({"type": "return_to_go", "whiten": False}, 1.0),
    "with baseline": ({"type": "return_to_go", "whiten": False, "group_baseline": True}, 0.5),
}


@pytest.mark.parametrize(("advantage", "scale"), UNWHITENED.values(), ids=UNWHITENED)
def test_the_estimator_is_the_gradient_of_expected_reward(advantage, scale):
    """A language of 3 tokens × 2 steps, every pair of responses enumerated with its probability."""
    torch.manual_seed(4)
    theta = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)  # step, previous, next
    reward = torch.randn(3, 3)

    def logprobs(a, b):
        return torch.stack([theta[0, 0].log_softmax(0)[a], theta[1, a].log_softmax(0)[b]])

    everything = list(product(range(3), range(3)))
    expected = sum(logprobs(a, b).sum().exp() * reward[a, b] for a, b in everything)
    [exact] = torch.autograd.grad(expected, theta)

    ppo = PpoSpec(advantage=advantage, reward_clip=None, importance_cap=None)
    loss = torch.zeros((), dtype=torch.float64)
    for pair in product(everything, everything):
        batch = toy_batch(pair, reward)
        zeros = torch.zeros(2, 2)
        credit = assign_credit(
            batch,
            Recall(zeros, zeros, zeros, zeros),
            ppo,
            limit=2,
            kl_coef=0.0,
            normaliser=RunningMoments(),
            group=SoloGroup(),
        ).credit
        new = torch.stack([logprobs(a, b) for a, b in pair])
        terms = policy_loss(
            new, new.detach(), credit.advantages.double(), clip_low=0.2, clip_high=0.2
        )
        loss = loss + new.detach().sum().exp() * terms.loss.sum() / len(pair)
    [estimated] = torch.autograd.grad(-loss, theta)
    torch.testing.assert_close(estimated, scale * exact, rtol=1e-5, atol=1e-6)


def stage_of(**given) -> PpoStage:
    return PpoStage.model_validate(
        {"prompts": {"path": "/p"}, "reward": {"type": "length", "target": 3}} | given
    )


@pytest.mark.parametrize("method", DEFAULTS)
def test_a_method_by_its_name_alone(method):
    stage = stage_of(type=method)
    assert stage.type == stage.name == method
    assert stage.ppo.has_critic == (method == "ppo")
    assert PpoStage.model_validate(stage.model_dump()) == stage
    assert PpoStage.model_validate_json(stage.model_dump_json()) == stage


def test_what_is_given_wins_over_the_method():
    stage = stage_of(type="grpo", samples_per_prompt=8, ppo={"clip_high": 0.28, "kl": {"coef": 0}})
    assert stage.samples_per_prompt == 8 and stage.ppo.clip_high == 0.28
    assert stage.ppo.kl.coef == 0 and stage.ppo.kl.placement == "loss"
    assert stage.ppo.aggregation == "sequence" and stage.ppo.advantage.type == "group"
    other = stage_of(type="grpo", ppo={"advantage": {"type": "leave_one_out"}})
    assert other.ppo.advantage.type == "leave_one_out"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"type": "grpo", "samples_per_prompt": 1}, "samples_per_prompt is 1"),
        ({"type": "rloo", "critic": {"type": "folder", "path": "/m"}}, "critic has no use"),
        ({"type": "grpo", "ppo": {"critic_warmup_steps": 2}}, "critic_warmup_steps has no use"),
        ({"type": "grpo", "ppo": {"kl": {"estimator": "k1"}}}, "zero expected gradient"),
        ({"type": "trpo"}, "'ppo', 'grpo', 'dr_grpo', 'rloo' or 'reinforce_pp'"),
    ],
)
def test_what_does_not_fit_a_method_is_refused(given, says):
    with pytest.raises(ValidationError, match=says):
        stage_of(**given)


@pytest.mark.parametrize("method", [m for m in DEFAULTS if m != "ppo"])
def test_each_method_trains_and_exports(method, pipeline_spec, make_context, tmp_path):
    from rlhf_service.events import EvaluationCompleted, StepCompleted
    from rlhf_service.spec import JobSpec
    from rlhf_service.stages.pipeline import run_pipeline

    changed = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    ppo = changed["stages"][2]
    ppo |= {"type": method, "samples_per_prompt": 2, "name": "policy"}
    del ppo["critic"]
    context = make_context(JobSpec.model_validate(changed), tmp_path / "job")
    run_pipeline(context)
    reports = [
        e.report
        for e in context.sink.events
        if isinstance(e, StepCompleted) and e.stage == "policy"
    ]
    assert len(reports) == 3 and all(r.value_loss == 0 for r in reports)
    assert all(math.isfinite(r.policy_loss) and r.policy_grad_norm > 0 for r in reports)
    assert len([e for e in context.sink.events if isinstance(e, EvaluationCompleted)]) == 2
    assert (context.folder.model / "model.safetensors").exists()
