"""Commands that work on files alone."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.cli.patch import changed
from rlhf_service.errors import RlhfError
from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec import ScratchModel


@pytest.fixture
def rlhf():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments))


def rows(path, *items) -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(path)


def test_data_says_which_stages_read_a_file_and_what_is_wrong(rlhf, tmp_path):
    path = rows(tmp_path / "a.jsonl", {"prompt": "a", "completion": "bc"}, {"prompt": "d"})
    found = rlhf("data", path)
    assert found.exit_code == 0
    assert "ppo and its kind" in found.output and "1" in found.output
    assert "not for sft" in found.output and "line 2: no column 'completion'" in found.output


def test_data_reads_renamed_columns_and_refuses_what_no_stage_reads(rlhf, tmp_path):
    path = rows(tmp_path / "a.jsonl", {"question": "a"})
    assert "ppo" in rlhf("data", path, "--column", "prompt=question").output.split("not for")[0]
    nothing = rlhf("data", path)
    assert nothing.exit_code == 1 and "no column 'prompt'" in nothing.output
    assert rlhf("data", str(tmp_path / "none")).exit_code == 1
    wrong = rlhf("data", path, "--column", "prompt")
    assert wrong.exit_code == 1 and "prompt=question" in wrong.output


def job(tmp_path, model, reward, **row) -> str:
    prompts = rows(tmp_path / "p.jsonl", *({"prompt": f"a {n}", **row} for n in range(4)))
    stage = {
        "type": "grpo",
        "prompts": {"path": prompts},
        "reward": reward,
        "samples_per_prompt": 2,
        "max_prompt_length": 8,
        "sampling": {"max_new_tokens": 4},
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"model": model, "stages": [stage]}))
    return str(path)


FUZZY = {
    "type": "text_similarity",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


def test_preflight_without_a_policy_scores_references(rlhf, tmp_path):
    found = rlhf("preflight", job(tmp_path, {"type": "scratch"}, FUZZY, answer="warm"))
    assert found.exit_code == 1, found.output  # equal scores: nothing to learn from
    assert "the references (4)" in found.output and "every response scores 1" in found.output
    assert "one word repeated" in found.output


def test_preflight_samples_a_policy_that_exists(rlhf, tmp_path):
    tokenizer = train_tokenizer(["a 0 1 2 3 warm"] * 4, 300)
    spec = ScratchModel(hidden_size=16, num_layers=1, num_heads=2, context_length=32)
    build_scratch(spec, tokenizer, 0).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    model = {"type": "folder", "path": str(tmp_path / "m")}
    found = rlhf("preflight", job(tmp_path, model, {"type": "length", "target": 3}))
    assert "sampled responses (8)" in found.output, found.output
    assert "scores a second" in found.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reward": FUZZY}, "no column 'answer'"),
        ({"reward": {"type": "length"}}, "target"),
        (
            {"reward": {"type": "reward_model", "model": {"type": "folder", "path": "/none"}}},
            "/none",
        ),
    ],
)
def test_preflight_refuses_with_one_line(rlhf, tmp_path, change, says):
    found = rlhf("preflight", job(tmp_path, {"type": "scratch"}, change["reward"]))
    assert found.exit_code == 1 and says in found.output
    assert "Traceback" not in found.output and isinstance(found.exception, SystemExit)


def test_preflight_names_the_stages_there_are(rlhf, tmp_path):
    path = job(tmp_path, {"type": "scratch"}, FUZZY, answer="x")
    found = rlhf("preflight", path, "--stage", "other")
    assert found.exit_code == 1 and "['grpo']" in found.output


@pytest.mark.parametrize(
    ("words", "patch"),
    [
        ((), {}),
        (("seed=1", "name=again"), {"seed": 1, "name": "again"}),
        (
            ("learner.zero_stage=2", "learner.bf16=true"),
            {"learner": {"zero_stage": 2, "bf16": True}},
        ),
        (("labels=null",), {"labels": None}),
        (("stages=[{type: sft}]",), {"stages": [{"type": "sft"}]}),
    ],
)
def test_changes_of_a_job_are_a_merge_patch(words, patch):
    assert changed(words, {"seed": 0, "stages": [{"type": "pretrain"}]}) == patch


def test_members_of_a_list_are_changed_by_name_or_number():
    spec = {
        "seed": 0,
        "stages": [{"name": "sft", "steps": 9}, {"name": "ppo", "ppo": {"epochs": 4}}],
    }
    words = ("stages[0].steps=3", "stages.ppo.ppo.epochs=1", "stages.1.steps=2", "seed=4")
    assert changed(words, spec) == {
        "seed": 4,
        "stages": [{"name": "sft", "steps": 3}, {"name": "ppo", "ppo": {"epochs": 1}, "steps": 2}],
    }
    assert changed(["stages.sft={name: dpo}"], spec)["stages"][0] == {"name": "dpo"}
    assert spec["stages"][0]["steps"] == 9
    for word in ("stages.rloo.steps=1", "stages[2].steps=1"):
        with pytest.raises(RlhfError, match="there are sft, ppo"):
            changed([word], spec)


def test_changes_can_stand_in_a_file_and_wrong_ones_are_named(tmp_path):
    (tmp_path / "new.yaml").write_text("- type: dpo\n")
    assert changed([f"stages=@{tmp_path / 'new.yaml'}"], {}) == {"stages": [{"type": "dpo"}]}
    for word in ("seed", "=1", "a..b=1", "x=["):
        with pytest.raises(RlhfError, match=re.escape(f"--set {word}: ")):
            changed([word], {})
    with pytest.raises(RlhfError, match="/none cannot be read"):
        changed(["x=@/none"], {})
    with pytest.raises(RlhfError, match="set already"):
        changed(["a=1", "a.b=2"], {})
