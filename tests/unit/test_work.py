"""Operations counted by hand, and the share of the peak in the reports of a whole job."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.batch import collate
from rlhf_service.clock import PARTS
from rlhf_service.events import StepCompleted
from rlhf_service.learner.group import SoloGroup
from rlhf_service.models.build import build_scratch
from rlhf_service.models.heads import ValueModel
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.models.work import Work, matmul_peak, work_of
from rlhf_service.records import FinishReason, Prompt, Rollout, Score
from rlhf_service.reports import PhaseSeconds
from rlhf_service.spec import ScratchModel
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.throughput import StepWork

WIDTH, LAYERS = 16, 2


def network(architecture: str):
    spec = ScratchModel(
        architecture=architecture, hidden_size=WIDTH, num_layers=LAYERS, num_heads=2
    )
    return build_scratch(spec, train_tokenizer(["a good film"] * 4, 300), 0)


def test_matrices_are_counted_and_tables_are_not():
    llama = network("llama")
    inner = llama.config.intermediate_size
    work = work_of(llama)
    assert work.trunk == LAYERS * (4 * WIDTH**2 + 3 * WIDTH * inner)
    assert work.head == WIDTH * llama.config.vocab_size
    assert work.learnt == 1
    assert work_of(network("gpt2")).trunk == LAYERS * 12 * WIDTH**2
    assert work_of(network("lstm")).trunk == LAYERS * 8 * WIDTH**2
    critic = work_of(ValueModel.of(network("llama")))
    assert (critic.trunk, critic.head) == (work.trunk, WIDTH)


def test_what_is_frozen_has_no_gradient_of_its_own():
    llama = network("llama")
    llama.requires_grad_(False)
    assert work_of(llama).learnt == 0
    work = Work(trunk=10, head=4, learnt=0.0)
    assert work.forward(5, 2) == 2 * (50 + 8)
    assert work.learn(5, 2) == 2 * work.forward(5, 2)


def test_a_step_is_sampling_annotation_and_epochs_of_learning():
    prompt = Prompt(position=0, sample=0, row=0, text="", token_ids=(5, 6, 7))
    rollout = Rollout(
        prompt=prompt,
        token_ids=(8, 9),
        logprobs=(-1.0, -1.0),
        text="",
        finish_reason=FinishReason.LENGTH,
        policy_version=1,
    )
    batch = collate([rollout], [Score(value=1.0)], 1.0)
    work = StepWork(Work(10, 4, 1.0), Work(10, 1, 1.0), peak=7.0)
    speed = work.speed(batch, 2.0, PhaseSeconds(update=4, total=8), SoloGroup())
    policy, critic = 2 * (10 * 5 + 4 * 2), 2 * (10 * 5 + 1 * 2)
    update = 2 * 3 * (policy + critic)
    assert speed.update == update / 4
    assert speed.step == (3 * policy + critic + update) / 8
    assert speed.peak == 7
    warming = work.speed(batch, 2.0, PhaseSeconds(update=4, total=8), SoloGroup(), warming=True)
    assert warming.update == 2 * (policy + 3 * critic) / 4


def test_peak_is_measured_once():
    one = matmul_peak(torch.device("cpu"), torch.float32)
    assert one > 1e8
    assert matmul_peak(torch.device("cpu"), torch.float32) == one


def test_every_step_of_a_job_tells_its_share_of_the_peak(pipeline_spec, make_context, tmp_path):
    context = make_context(pipeline_spec, tmp_path / "job")
    run_pipeline(context)
    reports = [e.report for e in context.sink.events if isinstance(e, StepCompleted)]
    assert {report.kind for report in reports} == {"supervised", "preference", "ppo"}
    for report in reports:
        whole = report.seconds.update if report.kind == "ppo" else report.seconds
        part = report.seconds.optimizer if report.kind == "ppo" else report.optimizer_seconds
        assert 0 < part < whole
        assert 0 < report.flops_per_second < report.peak_flops_per_second
        if report.kind == "ppo":
            assert 0 < report.update_flops_per_second < report.peak_flops_per_second
            phases = report.seconds.model_dump(exclude={"total", *PARTS})
            assert sum(phases.values()) == pytest.approx(report.seconds.total, rel=0.01)
            assert 0 <= report.seconds.decode_tail < report.seconds.generate
    tails = [report.seconds.decode_tail for report in reports if report.kind == "ppo"]
    assert max(tails) > 0
