"""Relative paths of a job's file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.cli.located import located
from rlhf_service.cli.plain import read_spec

HERE = Path("/srv/jobs")
JOB = """\
# my job
name: first
labels: {path: kept}
model: {type: folder, path: ../models/base}   # a model
stages:
  - type: sft
    data: {path: "rows.jsonl", columns: {path: kept}}
    validation: &held
      path: /data/held.jsonl
  - type: ppo
    prompts: {path: 'a b.jsonl'}
    evaluation: {prompts: *held}
    reward: {type: text_similarity, encoder: enc}
"""


def test_paths_begin_where_the_file_lies_and_nothing_else_moves():
    found = located(JOB, HERE)
    assert found.splitlines()[3] == 'model: {type: folder, path: "/srv/models/base"}   # a model'
    said = yaml.safe_load(found)
    assert said["labels"] == {"path": "kept"}
    sft, ppo = said["stages"]
    assert sft["data"] == {"path": "/srv/jobs/rows.jsonl", "columns": {"path": "kept"}}
    assert sft["validation"]["path"] == "/data/held.jsonl"
    assert ppo["prompts"]["path"] == "/srv/jobs/a b.jsonl"
    assert ppo["evaluation"]["prompts"]["path"] == "/data/held.jsonl"
    assert ppo["reward"]["encoder"] == "/srv/jobs/enc"
    assert [len(t.splitlines()) for t in (JOB, found)] == [13, 13]


@given(st.text(min_size=1).filter(lambda t: not Path(t).is_absolute()))
def test_any_name_in_json_is_found_again(name):
    text = json.dumps({"model": {"path": name, "seed": 3}})
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        assert located(text, HERE) == text
        return
    said = yaml.safe_load(located(text, HERE))
    meant = yaml.safe_load(text)["model"]["path"]
    assert said["model"] == {"path": os.path.normpath(HERE / meant), "seed": 3}


@given(st.text())
def test_text_that_is_no_job_is_left_to_its_reader(text):
    assert isinstance(located(text, HERE), str)


def test_a_file_is_read_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text("model: {path: base}\n")
    monkeypatch.chdir(tmp_path)
    said = read_spec(Path("jobs/job.yaml"))
    assert said == {"model": {"path": str(tmp_path / "jobs" / "base")}}
