"""A specification in brief means exactly the whole one."""

from __future__ import annotations

import pytest
import yaml

from rlhf_service.spec import JobSpec
from rlhf_service.spec.brief import brief_yaml
from rlhf_service.spec.methods import DEFAULTS

DATA = {"path": "/data/rows.jsonl"}
MODEL = {"type": "folder", "path": "/models/a"}


def job(**stage):
    return JobSpec.model_validate({"name": "ä: b", "model": MODEL, "stages": [stage]})


@pytest.mark.parametrize("method", DEFAULTS)
# 0.05 is the field's default and not grpo's: leaving it out would say 0.04.
@pytest.mark.parametrize("coef", [None, 0.04, 0.05, 0.3])
def test_it_reads_back_as_the_same_job(method, coef):
    ppo = {} if coef is None else {"kl": {"coef": coef}}
    spec = job(type=method, prompts=DATA, reward={"type": "length", "target": 9}, ppo=ppo, steps=3)
    assert JobSpec.model_validate(yaml.safe_load(brief_yaml(spec))) == spec


def test_defaults_are_left_out():
    text = brief_yaml(job(type="sft", data=DATA, steps=3))
    assert yaml.safe_load(text) == {
        "name": "ä: b",
        "model": MODEL,
        "stages": [{"type": "sft", "data": DATA, "steps": 3}],
    }
    assert "ä" in text
