"""Model folders are looked at when a job is submitted, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rlhf_service.errors import ModelError
from rlhf_service.models.check import check_model_folders
from rlhf_service.spec import JobSpec


def make(folder, architecture, *, tokenizer=True, weights=True):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    if weights:
        (folder / "model.safetensors").touch()
    if tokenizer:
        (folder / "tokenizer.json").touch()
    return {"type": "folder", "path": str(folder)}


@pytest.fixture
def policy(tmp_path):
    return make(tmp_path / "policy", "LlamaForCausalLM")


@pytest.fixture
def rewarder(tmp_path):
    return make(tmp_path / "rewarder", "LlamaForSequenceClassification")


def spec_of(policy, model, critic, *rewards):
    """SFT then PPO on three folders."""
    parts = [{"type": "reward_model", "name": f"r{i}", "model": m} for i, m in enumerate(rewards)]
    blend = {"type": "blend", "rewards": parts, "weights": [1.0] * len(parts)}
    ppo = {"type": "ppo", "prompts": {"path": "/d"}, "model": model, "critic": critic}
    return JobSpec.model_validate(
        {
            "model": policy,
            "stages": [
                {"type": "sft", "data": {"path": "/d"}},
                ppo | {"reward": parts[0] if len(parts) == 1 else blend},
            ],
        }
    )


def test_folders_that_fit_their_use_pass(policy, rewarder, tmp_path):
    bare = make(tmp_path / "bare", "LlamaForCausalLM", tokenizer=False)
    check_model_folders(spec_of(policy, policy, rewarder, rewarder))
    check_model_folders(spec_of(policy, None, bare, rewarder, rewarder))  # a critic reads no text


def test_each_misfit_is_refused_at_its_field(policy, rewarder, tmp_path):
    absent = {"type": "folder", "path": str(tmp_path / "absent")}
    pickled = make(tmp_path / "pickled", "LlamaForCausalLM", weights=False)
    mute = make(tmp_path / "mute", "LlamaForCausalLM", tokenizer=False)
    ppo = "stages[1]"
    for spec, field, says in (
        (spec_of(absent, None, None, rewarder), "model.path", "no folder"),
        (spec_of(pickled, None, None, rewarder), "model.path", "pickled weights are not loaded"),
        (spec_of(mute, None, None, rewarder), "model.path", "has no tokenizer"),
        (spec_of(rewarder, None, None, rewarder), "model.path", "generates no text"),
        (spec_of(policy, rewarder, None, rewarder), f"{ppo}.model.path", "generates no text"),
        (spec_of(policy, None, pickled, rewarder), f"{ppo}.critic.path", "safetensors"),
        (spec_of(policy, None, None, policy), f"{ppo}.reward.model.path", "is no reward model"),
        (
            spec_of(policy, None, None, rewarder, policy),
            f"{ppo}.reward.rewards[1].model.path",
            "is no reward model",
        ),
    ):
        with pytest.raises(ModelError, match=says) as refused:
            check_model_folders(spec)
        assert refused.value.field == field


@pytest.mark.parametrize("content", ["{", "[]", "3", '"x"', "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(policy, rewarder, tmp_path, content):
    (tmp_path / "policy" / "config.json").write_text(content)
    with pytest.raises(ModelError, match="is not a JSON object; restore"):
        check_model_folders(spec_of(policy, None, None, rewarder))


def test_a_config_may_be_silent_about_its_architecture(policy, rewarder, tmp_path):
    for name in ("policy", "rewarder"):
        (tmp_path / name / "config.json").write_text("{}")
    check_model_folders(spec_of(policy, None, None, rewarder))


def test_the_tokenizer_of_a_scratch_model_is_looked_for(rewarder, tmp_path):
    scratch = {"type": "scratch", "tokenizer": str(tmp_path)}
    spec = spec_of(scratch, None, None, rewarder)
    with pytest.raises(ModelError, match="has no tokenizer") as refused:
        check_model_folders(spec)
    assert refused.value.field == "model.tokenizer"
    (tmp_path / "tokenizer.json").touch()
    check_model_folders(spec)


def test_checking_is_light():
    code = (
        "import sys, rlhf_service.models.check, rlhf_service.data.check, rlhf_service.reward.build; "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
