"""Rewards that need no network."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure
from rlhf_service.reward.base import Guarded, render
from rlhf_service.reward.blend import Blend
from rlhf_service.reward.build import build_reward
from rlhf_service.spec.reward import BlendReward, LengthReward, RegexReward, StringCheckReward
from rlhf_service.testing import FunctionReward


def rollout(text="", tokens=3, **item):
    prompt = Prompt(position=0, sample=0, row=0, text="q", token_ids=(1,), item=item)
    return Rollout(
        prompt=prompt,
        token_ids=(5,) * tokens,
        logprobs=(0.0,) * tokens,
        text=text,
        finish_reason=FinishReason.EOS,
        policy_version=1,
    )


def value(spec, answer):
    [outcome] = build_reward(spec, {}).score([answer])
    assert isinstance(outcome, Score), outcome
    assert outcome.components == {spec.name: outcome.value}
    return outcome.value


@pytest.mark.parametrize(
    ("operation", "text", "wanted"),
    [
        ("eq", "Paris", 1),
        ("eq", "paris", 0),
        ("eq", "Paris.", 0),
        ("ne", "Paris", 0),
        ("ne", "Lyon", 1),
        ("like", "It is Paris.", 1),
        ("like", "It is PARIS.", 0),
        ("ilike", "It is PARIS.", 1),
        ("ilike", "It is Lyon.", 0),
    ],
)
def test_string_check(operation, text, wanted):
    spec = StringCheckReward(operation=operation, reference="{{ item.answer }}")
    assert value(spec, rollout(text, answer="Paris")) == wanted


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("plain", "plain"),
        ("{{item.a}}", "x"),
        ("<{{ item.a }}|{{item.b c}}|{{item.my-col}}>", "<x|4|z>"),
        ("{{item.nested}}", "{{item.a}}"),  # what is filled in is no template
        ("{item.a} {{ sample.output_text }}", "{item.a} out"),
    ],
)
def test_templates_are_filled_from_the_row(template, filled):
    row = {"a": "x", "b c": 4, "my-col": "z", "nested": "{{item.a}}"}
    assert render(template, rollout("out", **row)) == filled


@pytest.mark.parametrize(
    ("row", "says"), [({"b": 1}, r"no column 'a'; it has \['b'\]"), ({"a": None}, "is null")]
)
def test_a_column_without_a_value_is_a_failure_not_a_reward_of_zero(row, says):
    with pytest.raises(LookupError, match=says):
        render("{{item.a}}", rollout(**row))
    good = rollout("x", a="x")
    outcomes = build_reward(StringCheckReward(reference="{{item.a}}"), {}).score(
        [good, rollout("x", **row), good]
    )
    assert [type(o) for o in outcomes] == [Score, ScoreFailure, Score]
    assert outcomes[1].kind == "raised" and "column 'a'" in outcomes[1].message


def test_an_unknown_template_name_is_refused():
    with pytest.raises(LookupError, match=r"\{\{other\}\} is neither"):
        render("{{other}}", rollout("x"))


@pytest.mark.parametrize(("text", "wanted"), [("", 0), ("a1", 1), ("a1 b22", 2), ("1 2 3 4", 3)])
def test_regex_counts_matches_up_to_most(text, wanted):
    assert value(RegexReward(pattern=r"\d+", most=3), rollout(text)) == wanted


@given(st.integers(1, 100), st.integers(1, 300))
def test_length_is_best_at_the_target_and_never_negative(target, tokens):
    found = value(LengthReward(target=target), rollout(tokens=tokens))
    assert found == pytest.approx(max(0, 1 - abs(tokens - target) / target))
    assert (found == 1) == (tokens == target)


def test_a_blend_is_the_weighted_sum_and_keeps_its_parts():
    spec = BlendReward(
        rewards=(RegexReward(pattern="a", most=9), LengthReward(target=4)), weights=(2.0, -0.5)
    )
    [outcome] = build_reward(spec, {}).score([rollout("banana", tokens=3)])
    assert outcome == Score(value=2 * 3 - 0.5 * 0.75, components={"regex": 3.0, "length": 0.75})


def test_parts_of_one_name_stay_apart():
    parts = tuple(
        RegexReward(pattern=p, most=9, name=n)
        for p, n in (("a", "regex"), ("b", "regex"), ("n", "regex_2"), ("x", "regex"))
    )
    [outcome] = build_reward(BlendReward(rewards=parts, weights=(1,) * 4), {}).score(
        [rollout("banana")]
    )
    assert outcome.components == {"regex": 3, "regex_3": 1, "regex_2": 2, "regex_4": 0}


def test_a_blend_fails_where_any_part_fails():
    class Half:
        def score(self, rollouts):
            return [
                ScoreFailure(kind="timeout", message="late") if i % 2 else Score(value=1.0)
                for i, _ in enumerate(rollouts)
            ]

    outcomes = Blend((FunctionReward(lambda r: 1.0), Half()), (1.0, 1.0)).score([rollout()] * 4)
    assert [isinstance(o, Score) for o in outcomes] == [True, False, True, False]
    assert outcomes[1].kind == "timeout"


@given(st.lists(st.sampled_from([1.5, math.nan, math.inf, -math.inf, "raise"]), max_size=8))
def test_one_bad_rollout_costs_no_other_its_score(values):
    def judge(answer):
        found = values[int(answer.text)]
        if found == "raise":
            raise RuntimeError("broken judge")
        return found

    answers = [rollout(str(i)) for i in range(len(values))]
    outcomes = Guarded(FunctionReward(judge)).score(answers)
    assert len(outcomes) == len(values)
    for wanted, outcome in zip(values, outcomes, strict=True):
        if wanted == "raise":
            assert outcome == ScoreFailure(kind="raised", message="RuntimeError: broken judge")
        elif math.isfinite(wanted):
            assert outcome.value == wanted
        else:
            assert outcome.kind == "not_finite"
