"""A whole stage that samples ahead: equal to the plain loop, resumed to the bit, timed."""

from __future__ import annotations

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf_service.ahead import Ahead
from rlhf_service.clock import PARTS
from rlhf_service.events import StepCompleted
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec
from rlhf_service.stages import assembly
from rlhf_service.stages.pipeline import run_pipeline
from tests.small import stopped_and_resumed


def ahead_of(pipeline_spec, lag, **changes) -> JobSpec:
    """GRPO alone, on a network from scratch, with a rule for reward."""
    raw = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    stage = raw["stages"][2]
    for name in ("critic", "critic_optimizer"):
        stage.pop(name)
    stage |= {
        "type": "grpo",
        "name": "grpo",
        "reward": {"type": "regex", "pattern": "a"},
        "samples_per_prompt": 2,
        "steps": 5,
        "max_staleness": lag,
        "preflight": {"enabled": False},
        "dynamic_sampling": {"rounds": 2},
    }
    raw["stages"] = [stage | changes]
    return JobSpec.model_validate(raw)


def reports(*contexts):
    found = [e for c in contexts for e in c.sink.events if isinstance(e, StepCompleted)]
    return {e.step: deterministic_part(e.report) for e in found}


def weights(context):
    return AutoModelForCausalLM.from_pretrained(context.folder.model).state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_without_lag_it_is_the_plain_loop_to_the_bit(
    pipeline_spec, make_context, tmp_path, monkeypatch
):
    spec = ahead_of(pipeline_spec, 0)
    plain = make_context(spec, tmp_path / "plain")
    run_pipeline(plain)
    monkeypatch.setattr(assembly, "InStep", lambda: Ahead(0))
    other = make_context(spec, tmp_path / "other")
    run_pipeline(other)
    assert reports(plain) == reports(other)
    assert same(weights(plain), weights(other))


@pytest.mark.parametrize("lag", [1, 2])
def test_a_run_with_staleness_is_resumed_at_any_step_to_the_bit(
    pipeline_spec, make_context, tmp_path, lag
):
    spec = ahead_of(pipeline_spec, lag, evaluation=None)
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)
    found = reports(whole)
    assert [r["staleness_max"] for r in found.values()] == [min(n, lag) for n in range(5)]
    assert found[1]["importance_weight_max"] == pytest.approx(1, abs=1e-4)
    assert found[5]["sampler_difference_max"] > 1e-3, "older weights drew these"
    for step in range(1, 5):
        halted, resumed = stopped_and_resumed(
            make_context, spec, tmp_path / f"halted-{step}", ("grpo", step)
        )
        assert reports(halted, resumed) == found
        assert same(weights(whole), weights(resumed))


def test_a_crash_between_checkpoints_and_evaluations_in_between(
    pipeline_spec, make_context, tmp_path
):
    plain = ahead_of(pipeline_spec, 1)
    evaluation = plain.stages[0].evaluation.model_dump(mode="json") | {"every": 2}
    spec = ahead_of(pipeline_spec, 1, evaluation=evaluation)
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)

    class Killed(Exception):
        pass

    def crash(stage, step):
        if step == 4:
            raise Killed

    crashed = make_context(spec, tmp_path / "crashed", progress=crash)
    with pytest.raises(Killed):
        run_pipeline(crashed)
    resumed = make_context(spec, tmp_path / "crashed", reported={"grpo": 4})
    run_pipeline(resumed)
    assert reports(crashed, resumed) == reports(whole)
    assert same(weights(whole), weights(resumed))
    unwatched = make_context(ahead_of(pipeline_spec, 1, evaluation=None), tmp_path / "unwatched")
    run_pipeline(unwatched)
    assert reports(unwatched) == reports(whole), "evaluation changes nothing"


def test_a_kl_budget_ends_a_stage_that_samples_ahead(pipeline_spec, make_context, tmp_path):
    spec = ahead_of(
        pipeline_spec, 2, steps=9, ppo={"kl_budget": 1e-4}, optimizer={"learning_rate": 3e-2}
    )
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    assert 1 < len(reports(context)) < 9
    assert context.folder.result.exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_where_the_time_went_adds_up(pipeline_spec, make_context, tmp_path):
    context = make_context(ahead_of(pipeline_spec, 1), tmp_path / "job")
    run_pipeline(context)
    for event in context.sink.events:
        if isinstance(event, StepCompleted):
            seconds, ahead = event.report.seconds, event.report.ahead_seconds
            parts = seconds.model_dump(exclude={"total", *PARTS})
            assert sum(parts.values()) == pytest.approx(seconds.total, rel=0.01)
            assert ahead.generate > 0 and seconds.wait > 0
