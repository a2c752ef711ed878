"""Runs that cannot go on end in a typed reason and a sentence. Through a cluster: tests/integration."""

from __future__ import annotations

import json

import pytest

from rlhf_service.errors import RlhfError
from rlhf_service.job import StopReason
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline


def diverge(spec):
    spec["stages"] = spec["stages"][:1]
    spec["stages"][0]["optimizer"]["learning_rate"] = 1e30


def overlong(spec):
    ppo = spec["stages"][2]
    ppo |= {"max_prompt_length": 1, "reward": {"type": "length", "target": 3}, "critic": None}
    spec["stages"] = [ppo]
    with open(ppo["prompts"]["path"], "a", encoding="utf-8") as out:
        out.write(json.dumps({"prompt": "a good film " * 20}) + "\n")


@pytest.mark.parametrize(
    ("break_it", "reason", "says"),
    [
        (diverge, StopReason.NON_FINITE_LOSS, "lower optimizer.learning_rate"),
        (overlong, StopReason.INVALID_DATA, "stages[0].prompts.path: the prompt of row"),
    ],
)
def test_the_reason_and_the_remedy_are_told(
    pipeline_spec, make_context, tmp_path, break_it, reason, says
):
    changed = pipeline_spec.model_dump(mode="json")
    break_it(changed)
    with pytest.raises(RlhfError) as ended:
        run_pipeline(make_context(JobSpec.model_validate(changed), tmp_path / "job"))
    assert ended.value.reason is reason
    assert says in str(ended.value)
