"""Which engine draws the responses: what is refused at submission, and where its actors run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.reconcile.attempts import driver_environment
from api.settings import Settings
from api.store.tables import JobRow
from cluster.host import engine_environment
from rlhf_service.errors import ModelError
from rlhf_service.models.check import check_model_folders
from rlhf_service.spec import JobSpec, TransformersEngineSpec, VllmEngineSpec
from rlhf_service.spec.rollout import VLLM_PYTHON

FOLDER = {"type": "folder", "path": "/models/base"}


@pytest.fixture
def asked(pipeline_spec) -> dict:
    """A job that vLLM can draw for."""
    spec = pipeline_spec.model_dump(mode="json")
    spec["model"]["hidden_size"] = 64
    spec["rollout"] = {"engine": {"type": "vllm"}}
    return spec


def test_a_network_that_it_serves_is_let_in(asked):
    spec = JobSpec.model_validate(asked)
    assert isinstance(spec.rollout.engine, VllmEngineSpec)
    del asked["rollout"]
    assert isinstance(JobSpec.model_validate(asked).rollout.engine, TransformersEngineSpec)


MISFITS = [
    (lambda s: s["model"].update(architecture="lstm"), "model.architecture", "not serve an lstm"),
    (lambda s: s["model"].update(hidden_size=32), "model.num_heads", "heads of size 16"),
    (
        lambda s: s.update(model=FOLDER) or s["stages"][2].update(adapter={"rank": 4}),
        "stages[2].adapter",
        "whole networks only",
    ),
    (
        lambda s: s["stages"][2].update(model={"type": "scratch", "architecture": "lstm"}),
        "stages[2].model.architecture",
        "not serve an lstm",
    ),
    (
        lambda s: s["rollout"]["engine"].update(max_length=16),
        "rollout.engine.max_length",
        "make it at least 24",
    ),
    (
        lambda s: s["resources"]["rollout"].update(gpus_per_actor=2),
        "resources.rollout.gpus_per_actor",
        "on one GPU, not 2",
    ),
    (
        lambda s: s["resources"]["learner"].update(gpus_per_worker=1),
        "resources.rollout.gpus_per_actor",
        "needs one too",
    ),
    (lambda s: s["rollout"]["engine"].update(type="tgi"), "rollout.engine", "'vllm'"),
]


@pytest.mark.parametrize(("change", "field", "says"), MISFITS)
def test_what_it_cannot_serve_is_refused_by_name(asked, change, field, says):
    change(asked)
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(asked)
    told = str(refused.value)
    assert says in told
    assert field in told
    if "engine" in asked["rollout"] and asked["rollout"]["engine"]["type"] == "vllm":
        asked["rollout"] = {}
        JobSpec.model_validate(asked)  # the other engine takes it


SHARING = [
    ({"learner": {"gpus_per_worker": 0.5}, "rollout": {"gpus_per_actor": 0.5}}, ""),
    ({}, "colocated is for GPUs"),
    (
        {"learner": {"gpus_per_worker": 1}, "rollout": {"gpus_per_actor": 1}},
        "share one GPU; give each a part",
    ),
    (
        {
            "learner": {"gpus_per_worker": 0.5},
            "rollout": {"gpus_per_actor": 0.25, "num_actors": 2},
        },
        "pairs one learner with one rollout actor",
    ),
]


@pytest.mark.parametrize(("resources", "says"), SHARING)
def test_a_shared_gpu_is_one_gpu(asked, resources, says):
    asked["rollout"]["engine"]["placement"] = "colocated"
    asked["resources"] = resources
    if not says:
        JobSpec.model_validate(asked)
        return
    with pytest.raises(ValidationError, match=says):
        JobSpec.model_validate(asked)


def test_a_broadcast_is_between_whole_gpus(asked):
    asked["rollout"] |= {"weights": "collective"}
    JobSpec.model_validate(asked)
    asked["resources"] = {"learner": {"gpus_per_worker": 1}, "rollout": {"gpus_per_actor": 1}}
    JobSpec.model_validate(asked)
    asked["resources"] = SHARING[0][0]
    with pytest.raises(ValidationError, match=r"rollout\.weights: .* use object_store"):
        JobSpec.model_validate(asked)


def test_who_takes_turns_on_a_gpu_cannot_sample_ahead(asked):
    asked["rollout"]["engine"]["placement"] = "colocated"
    asked["resources"] = SHARING[0][0]
    stage = next(i for i, s in enumerate(asked["stages"]) if "reward" in s and "prompts" in s)
    asked["stages"][stage]["max_staleness"] = 1
    with pytest.raises(ValidationError, match=rf"stages\[{stage}\]\.max_staleness.*take turns"):
        JobSpec.model_validate(asked)
    asked["rollout"]["engine"]["placement"] = "separate"
    asked["resources"] = {"learner": {"gpus_per_worker": 1}, "rollout": {"gpus_per_actor": 1}}
    JobSpec.model_validate(asked)


def test_gpus_lift_the_limits_of_cpus(asked):
    asked["model"]["hidden_size"] = 32
    asked["resources"] = {
        "learner": {"gpus_per_worker": 1},
        "rollout": {"gpus_per_actor": 1},
    }
    JobSpec.model_validate(asked)


def test_a_job_without_rollouts_may_name_any_engine(asked):
    asked["stages"] = asked["stages"][:1]
    asked["model"]["architecture"] = "lstm"
    JobSpec.model_validate(asked)


def test_a_folder_of_another_architecture_is_refused(asked, tmp_path: Path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    asked["model"] = {"type": "folder", "path": str(tmp_path)}
    spec = JobSpec.model_validate(asked)
    for architecture, fits in (("LlamaForCausalLM", True), ("BloomForCausalLM", False)):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        if fits:
            check_model_folders(spec)
            continue
        with pytest.raises(ModelError, match="does not serve BloomForCausalLM") as refused:
            check_model_folders(spec)
        assert refused.value.field == "model.path"


def test_its_actors_run_where_the_operator_says():
    named = {VLLM_PYTHON: "/opt/vllm/bin/python"}
    assert engine_environment(VllmEngineSpec(), named) == {"py_executable": "/opt/vllm/bin/python"}
    assert engine_environment(VllmEngineSpec(), {}) is None
    assert engine_environment(TransformersEngineSpec(), named) is None


def test_the_operators_choice_reaches_the_driver():
    job = JobRow(id="job-1", traceparent=None)
    chosen = driver_environment(job, Settings(vllm_python="/opt/vllm/bin/python"))
    assert chosen[VLLM_PYTHON] == "/opt/vllm/bin/python"
    assert VLLM_PYTHON not in driver_environment(job, Settings(vllm_python=""))
