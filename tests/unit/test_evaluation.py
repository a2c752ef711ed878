"""Held-out figures: paired comparison, further metrics, greedy decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.evaluation.bootstrap import paired_bootstrap
from rlhf_service.events import EvaluationCompared, EvaluationCompleted
from rlhf_service.rollout.sampling import likeliest
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
def test_nothing_changed_is_no_difference(scores):
    found = paired_bootstrap(scores, scores, resamples=200)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered, rejected = 0, 0
    for trial in range(300):
        before = rng.normal(size=80)
        after = before + rng.normal(0.3, 1.0, size=80)
        found = paired_bootstrap(before, after, seed=trial, resamples=400)
        covered += found.low <= 0.3 <= found.high
        same = paired_bootstrap(before, before + rng.normal(0, 1, 80), seed=trial, resamples=400)
        rejected += same.p_value < 0.05
    assert 0.91 < covered / 300 < 0.98
    assert 0.01 < rejected / 300 < 0.09


def test_pairing_sees_what_two_separate_errors_hide():
    rng = np.random.default_rng(1)
    before = rng.normal(0, 10, size=100)
    found = paired_bootstrap(before, before + 0.5 + rng.normal(0, 0.1, size=100))
    assert found.p_value < 0.001
    assert 0.4 < found.low < 0.5 < found.high < 0.6


def test_samples_of_a_prompt_stay_together():
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.2, 1, size=50)
    before = np.zeros(150)
    tripled = paired_bootstrap(before, np.repeat(gaps, 3), samples_per_prompt=3, seed=5)
    single = paired_bootstrap(before[:50], gaps, seed=5)
    for name in ("difference", "low", "high", "p_value", "n"):
        assert getattr(tripled, name) == pytest.approx(getattr(single, name))


def test_what_has_no_score_on_one_side_takes_no_part():
    found = paired_bootstrap([0.0, None, 1.0, 2.0], [1.0, 5.0, 2.0, None])
    assert (found.n, found.difference) == (2, 1.0)
    assert paired_bootstrap([0.0, None], [1.0, 5.0]) is None
    with pytest.raises(ValueError, match="2 prompts before and 1 after"):
        paired_bootstrap([0.0, 1.0], [1.0])


def test_greedy_takes_the_likeliest_and_says_its_log_prob():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    tokens, logprobs = likeliest(logits, 0.5)
    assert tokens.tolist() == [1, 0]
    wanted = torch.log_softmax(logits / 0.5, dim=-1)[[0, 1], [1, 0]]
    assert torch.equal(logprobs, wanted)


def test_metrics_and_the_comparison_are_reported(pipeline_spec, make_context, tmp_path):
    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    evaluation = plain["stages"][-1]["evaluation"]
    evaluation |= {
        "metrics": [{"type": "length", "target": 3}, {"type": "regex", "pattern": "good"}],
        "greedy": True,
        "samples_per_prompt": 2,
    }
    plain["stages"][-1]["evaluation"] = evaluation
    context = make_context(JobSpec.model_validate(plain), tmp_path / "job")
    run_pipeline(context)
    first, last = [e for e in context.sink.events if isinstance(e, EvaluationCompleted)]
    assert [m.name for m in first.metrics] == ["length", "regex"]
    for figure in (first, *first.metrics, *last.metrics):
        assert len(figure.scores) == 12
        assert figure.mean == pytest.approx(np.mean(figure.scores))
    assert first.scores[0::2] == first.scores[1::2], "greedy answers do not differ"
    [compared] = [e for e in context.sink.events if isinstance(e, EvaluationCompared)]
    assert [d.name for d in compared.differences] == ["reward", "length", "regex"]
    for found in compared.differences:
        assert found.difference == pytest.approx(found.after - found.before)
        assert found.low <= found.difference <= found.high


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampling": {"greedy": True}}, "sampling.greedy explores nothing"),
        (
            {"evaluation": {"prompts": {"path": "/p"}, "metrics": [{"type": "chrf"}] * 2}},
            "'chrf' is taken",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(pipeline_spec, change, says):
    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    plain["stages"][-1].update(change)
    with pytest.raises(ValueError, match=says):
        JobSpec.model_validate(plain)
