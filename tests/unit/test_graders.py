"""Rewards that compare or read text, and rewards made of rewards."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rlhf_service.data.check import check_data
from rlhf_service.errors import DataError
from rlhf_service.formula import Formula
from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure
from rlhf_service.reward.build import build_reward
from rlhf_service.reward.ensemble import Ensemble
from rlhf_service.spec import JobSpec
from rlhf_service.spec.model import FolderModel
from rlhf_service.spec.reward import EnsembleReward, RewardSpec, columns_in, models_in
from rlhf_service.testing import FunctionReward

ADAPTER = TypeAdapter(RewardSpec)
METRICS = ("bleu", "gleu", "meteor", "fuzzy_match", "rouge_1", "rouge_2", "rouge_5", "rouge_l")
SENTENCE = "the quick brown fox jumps over the lazy dog"


def rollout(text, **item):
    prompt = Prompt(position=0, sample=0, row=0, text="q", token_ids=(1,), item=item)
    return Rollout(
        prompt=prompt,
        token_ids=(5, 6),
        logprobs=(0.0, 0.0),
        text=text,
        finish_reason=FinishReason.EOS,
        policy_version=1,
    )


def score(spec, text, **item):
    [outcome] = build_reward(ADAPTER.validate_python(spec), {}).score([rollout(text, **item)])
    assert isinstance(outcome, Score), outcome
    return outcome


def similarity(metric, text, reference):
    spec = {"type": "text_similarity", "evaluation_metric": metric}
    return score(spec, text, reference=reference).value


@pytest.mark.parametrize("metric", METRICS)
def test_a_text_is_nearest_to_itself_and_far_from_others(metric):
    assert similarity(metric, SENTENCE, SENTENCE) == pytest.approx(1.0, abs=1e-3)
    assert similarity(metric, "", SENTENCE) == 0
    part = similarity(metric, "the quick brown fox jumps over", SENTENCE)
    assert 0 < part < 1
    assert similarity(metric, "nothing in common", SENTENCE) < part


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_metric_stays_between_0_and_1(text, reference):
    for metric in METRICS:
        assert 0 <= similarity(metric, text, reference) <= 1 + 1e-9
    assert 0 <= score({"type": "chrf"}, text, reference=reference).value <= 1 + 1e-9
    assert 0 <= score({"type": "f1"}, text, reference=reference).value <= 1


@pytest.mark.parametrize(
    ("metric", "text", "reference", "wanted"),
    [
        ("rouge_1", "a b c", "a b d e", 2 * 2 / (3 + 4)),
        ("rouge_2", "a b c", "a b d e", 2 * 1 / (2 + 3)),
        ("rouge_l", "a x b c", "a b c", 2 * 3 / (4 + 3)),
        ("fuzzy_match", "abcd", "abce", 0.75),
        ("gleu", "a b c d", "a b c d e", 10 / 14),
    ],
)
def test_metrics_by_hand(metric, text, reference, wanted):
    assert similarity(metric, text, reference) == pytest.approx(wanted)


def test_meteor_counts_stems():
    exact = similarity("meteor", "the cats sat", "the cats sat")
    stems = similarity("meteor", "the cat sat", "the cats sat")
    other = similarity("meteor", "the dog sat", "the cats sat")
    assert other < stems <= exact


def test_a_threshold_is_reported_and_changes_nothing():
    spec = {"type": "text_similarity", "evaluation_metric": "rouge_1", "pass_threshold": 0.5}
    found = score(spec, "a b", reference="a b c d e f g")
    assert found.value == pytest.approx(4 / 9)
    assert found.components["text_similarity_passed"] == 0
    assert score(spec, "a", reference="a").components["text_similarity_passed"] == 1


def test_chrf_is_sacrebleus_sentence_chrf():
    import sacrebleu

    wanted = sacrebleu.sentence_chrf("El gato come", ["El gato comía"]).score / 100
    assert score({"type": "chrf"}, "El gato come", reference="El gato comía").value == wanted
    assert score({"type": "chrf", "word_order": 2}, "x", reference="x y").value < 1


@pytest.mark.parametrize(
    ("text", "right", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1, 1),
        ("Eiffel", "eiffel tower", 0, 2 / 3),
        ("in Paris, France", ["Lyon", "Paris"], 0, 0.5),
        ("an apple a day", "apple day", 1, 1),
        ("", "something", 0, 0),
        ("", "the", 1, 1),
        ("b b b", "b", 0, 0.5),
    ],
)
def test_answers_are_compared_as_squad_does(text, right, exact, f1):
    assert score({"type": "exact_match"}, text, reference=right).value == exact
    assert score({"type": "f1"}, text, reference=right).value == pytest.approx(f1)


def test_an_empty_list_of_answers_is_a_failure():
    [outcome] = build_reward(ADAPTER.validate_python({"type": "f1"}), {}).score(
        [rollout("x", reference=[])]
    )
    assert isinstance(outcome, ScoreFailure) and "empty list" in outcome.message


def test_sentiment_has_a_sign():
    good = score({"type": "sentiment"}, "a wonderful, brilliant film").value
    bad = score({"type": "sentiment"}, "a terrible, boring film").value
    assert good > 0.5 > 0 > -0.5 > bad
    negative = {"type": "sentiment", "target": "negative"}
    assert score(negative, "a terrible, boring film").value == -bad


@pytest.mark.parametrize(
    ("text", "ngram", "wanted"),
    [("", 1, 0), ("a", 3, 0), ("a a a a", 1, -0.75), ("a b a b a", 2, -0.5), ("a b c", 1, 0)],
)
def test_repetition_is_the_share_seen_before(text, ngram, wanted):
    assert score({"type": "repetition", "ngram": ngram}, text).value == wanted


MULTI = {
    "type": "multi",
    "graders": {
        "close": {"type": "chrf"},
        "ends": {"type": "regex", "pattern": r"\.$"},
    },
    "calculate_output": "0.5 * close + min(ends, 1) ^ 2 / 2",
}


def test_multi_joins_graders_and_keeps_them():
    found = score(MULTI, "done.", reference="done.")
    assert found.value == pytest.approx(1.0)
    assert dict(found.components) == pytest.approx({"close": 1.0, "ends": 1.0})


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("close + far", "no grader is named far; there are close, ends"),
        ("close +", "not a formula"),
        ("__import__('os')", "is not arithmetic"),
        ("close.real", "is not arithmetic"),
        ("close if ends else 1", "is not arithmetic"),
        ("[close][0]", "is not arithmetic"),
        ("min(x=close)", "is not arithmetic"),
        ("sqrt(close, ends)", "sqrt takes one argument, not 2"),
        ("min()", "min takes at least one argument"),
        ("'a' * 9", "is not arithmetic"),
        ("1" + "+1" * 1500, "longer than 2000"),
        ("(" * 300 + "close" + ")" * 300, "not a formula"),
    ],
)
def test_a_formula_is_checked_at_submission(formula, says):
    with pytest.raises(ValidationError, match="calculate_output") as caught:
        ADAPTER.validate_python(MULTI | {"calculate_output": formula})
    assert says in str(caught.value)


def test_a_formula_without_a_value_is_a_failure_not_a_zero():
    for formula in ("close / (ends - ends)", "log(0 - close)", "sqrt(0-1)", "exp(9999)", "9^9^9"):
        spec = ADAPTER.validate_python(MULTI | {"calculate_output": formula})
        [outcome] = build_reward(spec, {}).score([rollout("x", reference="x")])
        assert isinstance(outcome, ScoreFailure), formula
        assert outcome.kind == "not_finite"


numbers = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))
expressions = st.recursive(
    st.one_of(numbers.filter(lambda x: x >= 0).map(str), st.sampled_from(["a", "b"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"-{e}"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        inner.map(lambda e: f"abs({e})"),
    ),
    max_leaves=12,
)


@given(expressions, numbers, numbers)
def test_formulas_compute_what_python_does(text, a, b):
    try:
        wanted = float(eval(text, {"__builtins__": {}}, {"a": a, "b": b, "max": max, "abs": abs}))
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            Formula.parse(text).value({"a": a, "b": b})
        return
    assume(math.isfinite(wanted))
    assert Formula.parse(text).value({"a": a, "b": b}) == wanted


@pytest.mark.parametrize(
    ("combine", "wanted"),
    [("mean", 3.0), ("minimum", 1.0), ("mean_minus_std", 3.0 - 0.5 * 2.0)],
)
def test_an_ensemble_reports_its_disagreement(combine, wanted):
    spec = EnsembleReward(
        models=tuple(FolderModel(path=f"/{i}") for i in range(3)), combine=combine, k=0.5
    )
    members = tuple(FunctionReward(lambda r, v=v: v) for v in (1.0, 3.0, 5.0))
    [found] = Ensemble(spec, members).score([rollout("x")])
    assert found.value == pytest.approx(wanted)
    assert found.components["ensemble_disagreement"] == pytest.approx(2.0)


def test_models_and_columns_are_found_wherever_they_stand():
    spec = ADAPTER.validate_python(
        {
            "type": "multi",
            "graders": {
                "rm": {"type": "ensemble", "models": [{"type": "folder", "path": p} for p in "ab"]},
                "near": {"type": "chrf", "reference": "{{item.gold}} {{ item.more }}"},
                "right": {"type": "f1", "answers": "answers"},
            },
            "calculate_output": "rm + near + right",
        }
    )
    assert [field for field, _ in models_in(spec, "reward")] == [
        "reward.graders.rm.models[0]",
        "reward.graders.rm.models[1]",
    ]
    assert list(columns_in(spec, "reward")) == [
        ("reward.graders.near.reference", "gold"),
        ("reward.graders.near.reference", "more"),
        ("reward.graders.right.answers", "answers"),
    ]


def test_a_missing_column_is_known_at_submission(pipeline_spec):
    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    plain["stages"][-1]["evaluation"]["metrics"] = [{"type": "chrf", "reference": "{{item.gold}}"}]
    with pytest.raises(DataError) as caught:
        check_data(JobSpec.model_validate(plain))
    assert caught.value.field == "stages[2].evaluation.metrics[0].reference"
    assert "has no column 'gold', which the reward reads; it has prompt" in str(caught.value)
