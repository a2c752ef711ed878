"""The whole pipeline in one process: SFT → reward model → PPO."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf_service.errors import GateFailed, NonFiniteLoss, RewardFailed, UserError
from rlhf_service.events import (
    CheckpointSaved,
    EvaluationCompleted,
    PromptQuarantined,
    StepCompleted,
)
from rlhf_service.reports import deterministic_part
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import FunctionReward
from tests.small import stopped_and_resumed


def steps_of(events):
    """(stage, step) → the deterministic part of its newest report."""
    found = [e for e in events if isinstance(e, StepCompleted)]
    return {(e.stage, e.step): deterministic_part(e.report) for e in found}


def test_pipeline_leaves_a_loadable_model_and_a_completion_record(
    pipeline_spec, make_context, tmp_path
):
    context = make_context(pipeline_spec, tmp_path / "job")
    run_pipeline(context)
    assert json.loads(context.folder.result.read_text())["model"] == str(context.folder.model)
    model = AutoModelForCausalLM.from_pretrained(context.folder.model)
    tokenizer = AutoTokenizer.from_pretrained(context.folder.model)
    ids = tokenizer("a", return_tensors="pt", add_special_tokens=False)
    assert model.generate(**ids, max_new_tokens=3).shape[1] > 1
    scorer = AutoModelForSequenceClassification.from_pretrained(
        context.folder.stage_model("reward")
    )
    assert scorer.num_labels == 1
    assert "sft (sft, 4 steps)" in (context.folder.model / "README.md").read_text()
    assert [
        len([k for k in steps_of(context.sink.events) if k[0] == s])
        for s in ("sft", "reward", "ppo")
    ] == [4, 4, 3]


def test_first_ppo_step_has_no_kl_and_sampler_agrees(pipeline_spec, make_context, tmp_path):
    context = make_context(pipeline_spec, tmp_path / "job")
    run_pipeline(context)
    first = next(
        e.report for e in context.sink.events if isinstance(e, StepCompleted) and e.stage == "ppo"
    )
    assert abs(first.kl) < 1e-5
    assert first.sampler_difference_max < 1e-4
    assert first.importance_weight_max == pytest.approx(1, abs=1e-4)
    assert first.responses == 4 and first.quarantined == 0


@pytest.mark.parametrize("stop_after", [("sft", 3), ("reward", 1), ("ppo", 1), ("ppo", 2)])
def test_stop_and_resume_gives_the_same_numbers(pipeline_spec, make_context, tmp_path, stop_after):
    whole = make_context(pipeline_spec, tmp_path / "whole")
    run_pipeline(whole)

    halted, resumed = stopped_and_resumed(
        make_context, pipeline_spec, tmp_path / "halted", stop_after
    )

    assert steps_of(whole.sink.events) == steps_of(halted.sink.events + resumed.sink.events)
    one = AutoModelForCausalLM.from_pretrained(whole.folder.model).state_dict()
    two = AutoModelForCausalLM.from_pretrained(resumed.folder.model).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_crash_between_checkpoints_repeats_steps_exactly(pipeline_spec, make_context, tmp_path):
    whole = make_context(pipeline_spec, tmp_path / "whole")
    run_pipeline(whole)

    class Killed(Exception):
        pass

    def crash(stage: str, step: int) -> None:
        if (stage, step) == ("ppo", 3):
            raise Killed

    crashed = make_context(pipeline_spec, tmp_path / "crashed", progress=crash)
    with pytest.raises(Killed):
        run_pipeline(crashed)
    reported = {"sft": 4, "reward": 4, "ppo": 3}
    resumed = make_context(pipeline_spec, tmp_path / "crashed", reported=reported)
    run_pipeline(resumed)
    replayed = [e for e in resumed.sink.events if isinstance(e, StepCompleted) and e.replayed]
    assert [(e.stage, e.step) for e in replayed] == [("ppo", 3)]
    assert steps_of(whole.sink.events) == steps_of(resumed.sink.events + crashed.sink.events)
    for event in replayed:
        key = (event.stage, event.step)
        assert deterministic_part(event.report) == steps_of(crashed.sink.events)[key]


def test_a_reward_that_fails_now_and_then_quarantines(pipeline_spec, make_context, tmp_path):
    from rlhf_service.reward.base import Guarded

    def moody(rollout) -> float:
        if rollout.prompt.row == 2:
            raise ValueError("no score for row 2")
        return float(len(rollout.token_ids))

    context = make_context(pipeline_spec, tmp_path / "job", Guarded(FunctionReward(moody)))
    run_pipeline(context)
    quarantined = [e for e in context.sink.events if isinstance(e, PromptQuarantined)]
    assert {e.prompt for e in quarantined} == {2}
    assert "no score for row 2" in quarantined[0].message


def test_a_reward_that_always_fails_ends_the_job(pipeline_spec, make_context, tmp_path):
    from rlhf_service.reward.base import Guarded

    def broken(rollout) -> float:
        raise ValueError("the scorer is down")

    context = make_context(pipeline_spec, tmp_path / "job", Guarded(FunctionReward(broken)))
    with pytest.raises(RewardFailed, match="could be scored by 'reward'; the first: raised: "):
        run_pipeline(context)


def test_nan_weights_end_the_job(pipeline_spec, make_context, tmp_path):
    spec = pipeline_spec.model_dump()
    spec["stages"][0]["optimizer"]["learning_rate"] = 1e30
    spec = type(pipeline_spec).model_validate(spec)
    with pytest.raises(NonFiniteLoss, match="learning"):
        run_pipeline(make_context(spec, tmp_path / "job"))


def test_evaluations_bracket_the_training(pipeline_spec, make_context, tmp_path):
    context = make_context(pipeline_spec, tmp_path / "job")
    run_pipeline(context)
    found = [e for e in context.sink.events if isinstance(e, EvaluationCompleted)]
    assert [e.step for e in found] == [0, 3]
    assert [s.prompt for s in found[0].samples] == [s.prompt for s in found[1].samples]
    assert all(e.n == 6 and e.standard_error > 0 for e in found)
    assert any(isinstance(e, CheckpointSaved) for e in context.sink.events)
    assert GateFailed.reason == "gate_failed"


def test_pretraining_then_ppo_from_a_model_folder(pipeline_spec, corpus, make_context, tmp_path):
    """Pretrain a GPT-2 style network; a second job starts from its folder, with a rule reward."""
    base = pipeline_spec.model_dump(mode="json")
    base["model"] |= {"architecture": "gpt2"}
    stage = {"type": "pretrain", "data": {"path": corpus["text"]}, "steps": 3, "max_length": 16}
    base["stages"] = [stage | {"batch_size": 4}]
    first = make_context(type(pipeline_spec).model_validate(base), tmp_path / "first")
    run_pipeline(first)
    ppo = pipeline_spec.model_dump(mode="json")
    ppo["model"] = {"type": "folder", "path": str(first.folder.model)}
    ppo["stages"] = [
        ppo["stages"][2] | {"critic": None, "reward": {"type": "regex", "pattern": "a"}}
    ]
    ppo["learner"] = {"layout": "packed", "micro_batch_size": 2}
    second = make_context(type(pipeline_spec).model_validate(ppo), tmp_path / "second")
    run_pipeline(second)
    assert len(steps_of(second.sink.events)) == 3
    AutoModelForCausalLM.from_pretrained(second.folder.model)


def test_a_prompt_that_does_not_fit_the_context_is_refused_by_name(
    pipeline_spec, make_context, tmp_path
):
    spec = pipeline_spec.model_dump(mode="json")
    spec["stages"][2]["sampling"]["max_new_tokens"] = 500
    context = make_context(type(pipeline_spec).model_validate(spec), tmp_path / "job")
    with pytest.raises(UserError, match=r"stages\[2\]\.sampling.*do not fit the model's context"):
        run_pipeline(context)
