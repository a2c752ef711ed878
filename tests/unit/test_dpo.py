"""DPO: where it starts, what it computes, that it learns and resumes."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf_service.algorithms.losses import bradley_terry
from rlhf_service.data.rows import PreferenceRow
from rlhf_service.data.tokens import encode_answers
from rlhf_service.events import StepCompleted
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec
from rlhf_service.stages.dpo import answer_logprobs
from rlhf_service.stages.pipeline import run_pipeline
from tests.small import stopped_and_resumed, write_rows


@pytest.fixture
def spec(pipeline_spec, corpus) -> JobSpec:
    changed = pipeline_spec.model_dump(mode="json")
    dpo = {
        "type": "dpo",
        "data": {"path": corpus["pairs"]},
        "steps": 12,
        "batch_size": 8,
        "max_length": 32,
        "optimizer": {"learning_rate": 1e-2},
    }
    changed["stages"] = [changed["stages"][0], dpo]
    return JobSpec.model_validate(changed)


def reports(context):
    return [
        e.report for e in context.sink.events if isinstance(e, StepCompleted) and e.stage == "dpo"
    ]


def test_dpo_starts_at_log_2_and_learns_the_preference(spec, make_context, tmp_path):
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    found = reports(context)
    assert found[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert found[0].margin == pytest.approx(0, abs=1e-5)
    assert found[-1].loss < 0.5 and found[-1].accuracy > 0.9 and found[-1].margin > 0.5
    assert found[-1].validation_accuracy is not None
    assert "dpo (dpo, 12 steps)" in (context.folder.model / "README.md").read_text()


@pytest.mark.parametrize("asked", [False, True])
def test_margins_in_the_rows_are_an_offset_when_asked_for(spec, make_context, tmp_path, asked):
    rows = [{"prompt": "a", "chosen": " good film", "rejected": " bad film", "margin": 0.7}] * 16
    stages = [stage.model_dump(mode="json") for stage in spec.stages]
    stages[1]["data"] = {"path": write_rows(tmp_path / "margins.jsonl", rows)}
    stages[1] |= {"margins": asked, "steps": 1}
    context = make_context(
        JobSpec.model_validate(spec.model_dump(mode="json") | {"stages": stages}), tmp_path / "job"
    )
    run_pipeline(context)
    # Policy and reference are the same at first: −log σ(0 − margin).
    wanted = math.log(1 + math.exp(0.7)) if asked else math.log(2)
    assert reports(context)[0].loss == pytest.approx(wanted, abs=1e-5)


def test_stop_and_resume_gives_the_same_numbers(spec, make_context, tmp_path):
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)

    halted, resumed = stopped_and_resumed(make_context, spec, tmp_path / "halted", ("dpo", 5))
    both = reports(halted) + reports(resumed)
    assert [deterministic_part(r) for r in both] == [deterministic_part(r) for r in reports(whole)]
    one = AutoModelForCausalLM.from_pretrained(whole.folder.model).state_dict()
    two = AutoModelForCausalLM.from_pretrained(resumed.folder.model).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_answer_logprobs_are_the_loop_and_ignore_padding(spec, make_context, tmp_path):
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    model = AutoModelForCausalLM.from_pretrained(context.folder.model)
    tokenizer = AutoTokenizer.from_pretrained(context.folder.model)
    rows = [
        PreferenceRow(prompt="a", chosen=" good film", rejected=" bad"),
        PreferenceRow(prompt="", chosen="warm good fun and more", rejected="a"),
    ]
    pairs = encode_answers(rows, tokenizer, 32, "data")
    with torch.no_grad():
        together = answer_logprobs(model, pairs, torch.device("cpu"))
        for index, pair in enumerate(pairs):
            for side, row in ((0, pair.chosen), (1, pair.rejected)):
                logits = model(torch.tensor([row.token_ids])).logits[0]
                wanted = sum(
                    float(logits[t - 1].log_softmax(0)[row.token_ids[t]])
                    for t, learnt in enumerate(row.loss_mask)
                    if learnt
                )
                assert float(together[side][index]) == pytest.approx(wanted, abs=1e-4)
    assert pairs[1].chosen.loss_mask[0] is False


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_label_smoothing_is_the_expected_loss_over_flipped_labels(epsilon):
    chosen, rejected = torch.tensor([0.7, -0.2]), torch.tensor([0.1, 0.4])
    margin = torch.tensor([0.0, 0.3])
    found = bradley_terry(chosen, rejected, margin, label_smoothing=epsilon)
    for i in range(2):
        gap = float(chosen[i] - rejected[i] - margin[i])
        wanted = (1 - epsilon) * math.log1p(math.exp(-gap)) + epsilon * math.log1p(math.exp(gap))
        assert float(found[i]) == pytest.approx(wanted, abs=1e-6)
