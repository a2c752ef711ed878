"""A checkpoint's policy as a Hugging Face folder."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from rlhf_service.checkpoint_model import checkpoint_model
from rlhf_service.errors import ModelError
from rlhf_service.manifest import MANIFEST, checkpoint_name
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.storage import write_atomically
from tests.small import pipeline_of, stage_context, write_corpus


def weights(folder) -> dict[str, torch.Tensor]:
    return load_causal_lm(folder, torch.float32).state_dict()


def same(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A job of every kind of stage whose checkpoints are all there."""
    root = tmp_path_factory.mktemp("jobs")
    given = pipeline_of(write_corpus(root)).model_dump(mode="json")
    sft = given["stages"][0]
    given["stages"].insert(1, {**sft, "name": "more", "adapter": {"rank": 2}})
    given["checkpoint"]["keep"] = 100
    spec = JobSpec.model_validate(given)
    context = stage_context(spec, root / "job-1")
    write_atomically(context.folder.spec, spec.model_dump_json())
    run_pipeline(context)
    return context.folder


def test_the_last_checkpoint_is_the_finished_model(folder) -> None:
    made = checkpoint_model(folder, checkpoint_name("ppo", 3))
    assert same(weights(made), weights(folder.model))
    assert load_tokenizer(made).get_vocab() == load_tokenizer(folder.model).get_vocab()
    assert checkpoint_model(folder, checkpoint_name("ppo", 3)) == made  # not written again
    earlier = checkpoint_model(folder, checkpoint_name("ppo", 2))
    assert not same(weights(earlier), weights(folder.model))


def test_a_stage_from_scratch_has_its_own_tokenizer(folder) -> None:
    made = checkpoint_model(folder, checkpoint_name("sft", 4))
    assert same(weights(made), weights(folder.stage_model("sft")))


def test_an_adapter_is_merged(folder) -> None:
    made = checkpoint_model(folder, checkpoint_name("more", 4))
    assert same(weights(made), weights(folder.stage_model("more")))
    assert not same(weights(made), weights(folder.stage_model("sft")))


def test_what_is_no_model_is_refused(folder) -> None:
    with pytest.raises(ModelError, match="generates no text"):
        checkpoint_model(folder, checkpoint_name("reward", 4))
    with pytest.raises(ModelError, match="no MANIFEST"):
        checkpoint_model(folder, "ppo-step-000099")
    torn = folder.checkpoints / checkpoint_name("sft", 2)
    (torn / MANIFEST).unlink()
    command = [sys.executable, "-m", "rlhf_service.checkpoint_model", str(folder.root), torn.name]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "no MANIFEST" in json.loads(printed.stdout.splitlines()[-1])["fault"]
