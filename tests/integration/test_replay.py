"""A kept step, taken again in processes of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.group import TorchGroup
from rlhf_service.recording import read_recording, write_recording
from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure
from rlhf_service.spec import JobSpec
from rlhf_service.spec.annealing import AnnealingSpec, Ramp, TemperatureRamp
from rlhf_service.spec.ppo import KlSpec, PpoSpec
from rlhf_service.spec.stages import DynamicSamplingSpec
from rlhf_service.stages.pipeline import run_pipeline
from tests.small import pipeline_of, stage_context, write_corpus


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a job whose PPO kept steps 1 and 3, and step 2 of one that samples ahead and in
    which nearly everything is switched on."""
    from rlhf_service.learner.deepspeed import DeepSpeedEngines

    root = tmp_path_factory.mktemp("replay")
    spec = pipeline_of(write_corpus(root))
    ppo = spec.stages[-1].model_copy(update={"keep_steps": frozenset({1, 3})})
    changes = {
        "name": "ahead",
        "keep_steps": frozenset({2}),
        "samples_per_prompt": 2,
        "max_staleness": 1,
        "dynamic_sampling": DynamicSamplingSpec(rounds=2),
        "annealing": AnnealingSpec(temperature=TemperatureRamp(to=0.8), entropy_coef=Ramp(to=0.0)),
        "ppo": PpoSpec(
            minibatches=2,
            clip_high=0.28,
            dual_clip=3.0,
            entropy_coef=0.01,
            normalize_reward=True,
            truncation_penalty=0.1,
            critic_warmup_steps=1,
            target_kl=0.05,
            kl=KlSpec(placement="loss", estimator="k2", target=2.0),
        ),
    }
    stages = (*spec.stages[:-1], ppo, ppo.model_copy(update=changes))
    spec = JobSpec.model_validate_json(spec.model_copy(update={"stages": stages}).model_dump_json())
    os.environ["LOCAL_RANK"] = "0"
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=0, world_size=1)
    torch.set_num_threads(spec.resources.learner.num_threads)
    try:
        device = torch.device("cpu")
        group = TorchGroup(device)
        folder = root / "job"
        context = stage_context(
            spec,
            folder,
            group=group,
            engines=DeepSpeedEngines(spec.learner, device),
            checkpoints=CheckpointFolder(folder / "checkpoints", 2, group),
        )
        context.folder.spec.write_text(spec.model_dump_json())
        run_pipeline(context)
    finally:
        dist.destroy_process_group()
    return folder


def rlhf(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("step", ["ppo-step-000001", "ppo-step-000003", "ahead-step-000002"])
def test_the_same_step_gives_the_same_figures_to_the_last_bit(kept, step):
    found = rlhf("replay", str(kept / "bundles" / step))
    assert found.exit_code == 0, found.output
    assert "the same to the last bit" in found.output


def test_a_changed_score_is_told(kept, tmp_path):
    job = tmp_path / "job"
    shutil.copytree(kept, job)
    path = job / "bundles" / "ppo-step-000003" / "responses-0.jsonl"
    judged = read_recording(path)
    rollout, score = judged[0]
    judged[0] = (rollout, dataclasses.replace(score, value=score.value + 1))
    write_recording(path, judged)
    found = rlhf("replay", str(path.parent))
    assert found.exit_code == 1
    assert "differs: score_mean" in found.output and "differs: policy_loss" in found.output


def test_what_is_no_kept_step_is_refused_with_one_line(kept, tmp_path):
    nothing = rlhf("replay", str(tmp_path))
    assert nothing.exit_code == 1 and "keep_steps" in nothing.output
    alone = tmp_path / "bundles" / "ppo-step-000003"
    shutil.copytree(kept / "bundles" / "ppo-step-000003", alone)
    lost = rlhf("replay", str(alone))
    assert lost.exit_code == 1 and "not in its job's folder" in lost.output
    job = tmp_path / "job"
    shutil.copytree(kept, job)
    path = job / "bundles" / "ppo-step-000003" / "responses-0.jsonl"
    path.write_text(path.read_text().splitlines()[0])
    part = rlhf("replay", str(path.parent))
    assert part.exit_code == 1 and "the recording has no response" in part.output
    assert "Traceback" not in part.output


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(
    logprobs=st.lists(numbers, min_size=1, max_size=4),
    outcome=st.builds(Score, value=numbers, components=st.dictionaries(st.text(), numbers))
    | st.builds(ScoreFailure, kind=st.text(), message=st.text()),
    item=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())),
)
def test_recordings_come_back_exactly(tmp_path_factory, logprobs, outcome, item):
    prompt = Prompt(position=3, sample=1, row=2, text="é", token_ids=(5, 9), item=item)
    rollout = Rollout(
        prompt=prompt,
        token_ids=tuple(range(len(logprobs))),
        logprobs=tuple(logprobs),
        text="a\n",
        finish_reason=FinishReason.LENGTH,
        policy_version=7,
    )
    path = tmp_path_factory.getbasetemp() / "recording.jsonl"
    write_recording(path, [(rollout, outcome)])
    assert read_recording(path) == [(rollout, outcome)]
    assert json.loads(path.read_text())
