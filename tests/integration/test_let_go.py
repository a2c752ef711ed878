"""Each stage leaves its memory to the next, and takes plain torch's steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline
from tests.integration.stage_worker import reports
from tests.small import stage_context

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("zero", [0, 3])
def test_nothing_of_a_stage_is_left_and_its_figures_are_plain_torchs(
    tmp_path, pipeline_spec: JobSpec, zero
):
    words = [pipeline_spec.model_dump_json(), str(zero), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.stage_worker", *words],
        cwd=ROOT,
        env=os.environ | {"LOCAL_RANK": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    # Of three stages and five networks less than one network's weights.
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "job" / "model")
    weights = sum(tensor.nbytes for tensor in model.parameters())
    assert max(found["left"]) < weights / 4, (found["left"], weights)

    plain = stage_context(pipeline_spec, tmp_path / "plain")
    run_pipeline(plain)
    wanted = reports(plain.sink)
    assert len(wanted) == len(found["reports"]) == 11
    for mine, expected in zip(found["reports"], wanted, strict=True):
        assert mine == pytest.approx(expected, rel=1e-4, abs=1e-5)
