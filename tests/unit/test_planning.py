"""Plans: what they say of memory and time, what fits, what they advise, what they do not know."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rlhf_service.errors import StorageError
from rlhf_service.planning.catalogue import GPUS, gpu_profile
from rlhf_service.planning.device import read_profile, write_profile
from rlhf_service.planning.networks import Unknown, count_parameters, read_folder
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.placement import advised
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.records import JobPlan, RoleMemory
from rlhf_service.planning.states import engine_states
from rlhf_service.spec import JobSpec, LearnerSpec
from tests.planning import GIB, machine, ppo, sft

HERE = Setting(host=machine())


def role(plan: JobPlan, name: str) -> RoleMemory:
    return next(found for found in plan.memory if found.role == name)


def test_every_role_and_phase_of_a_pipeline_has_its_figure():
    plan = plan_job(ppo(), HERE)
    assert [r.role for r in plan.memory] == [
        "learner", "rollout", "reward", "weights", "weights", "driver"
    ]  # fmt: skip
    assert all(r.bytes.value and not r.bytes.at_least for r in plan.memory)
    assert role(plan, "learner").stage == "ppo"  # policy, critic and reference at once
    steps = {stage.stage: stage for stage in plan.stages}
    assert steps["sft"].phases.keys() == {"update"}
    assert steps["ppo"].phases.keys() == {"generate", "judge", "annotate", "update", "publish"}
    whole = sum(phase.value for phase in steps["ppo"].phases.values())
    assert steps["ppo"].step.value == pytest.approx(whole)
    assert plan.seconds.value == pytest.approx(sum(s.seconds.value for s in plan.stages))
    assert plan.fits is True and plan.reasons == ()


def planned_ahead(max_staleness: int, cores: int):
    spec = ppo(stage={"max_staleness": max_staleness})
    plan = plan_job(spec, Setting(host=machine(cores=cores)))
    return plan.stages[-1], role(plan, "learner"), plan.memory[-2]


def test_a_stage_that_samples_ahead_takes_as_long_as_the_slower_side():
    plain, _, kept = planned_ahead(0, cores=4)
    ahead, _, more = planned_ahead(2, cores=4)
    phases = {name: phase.value for name, phase in ahead.phases.items()}
    assert phases == {name: phase.value for name, phase in plain.phases.items()}
    pools = phases["generate"] + phases["judge"]
    learners = phases["annotate"] + phases["update"] + phases["publish"]
    assert plain.step.value == pytest.approx(pools + learners)
    assert ahead.step.value == pytest.approx(max(pools, learners))
    assert ahead.seconds.value < plain.seconds.value
    assert more.parts[0].bytes == 2 * kept.parts[0].bytes, "four versions instead of two"
    # One core has nothing to do it beside.
    crowded = planned_ahead(2, cores=1)[0]
    assert crowded.step.value == pytest.approx(pools + learners)


def test_what_is_not_known_of_one_side_is_not_made_up():
    reward = {"type": "http", "url": "https://example.org/score"}
    plan = plan_job(ppo(stage={"reward": reward, "max_staleness": 1}), HERE)
    step = plan.stages[-1].step
    assert step.at_least and "http" in step.unavailable and step.value > 0


def test_parts_add_up_to_the_role():
    for found in plan_job(ppo(), HERE).memory:
        assert sum(part.bytes for part in found.parts) == pytest.approx(found.bytes.value, abs=9)


def test_a_reward_actor_with_networks_has_loaded_what_they_need():
    sizes = dict.fromkeys(("driver", "learner", "rollout", "weights"), 1) | {
        "reward": 3,
        "scorer": 5,
    }

    def process(plan: JobPlan) -> int:
        parts = {part.name: part.bytes for part in role(plan, "reward").parts}
        return parts.get("process", 0)

    here = Setting(host=machine(baseline=sizes))
    rule = {"reward": {"type": "length", "target": 8}}
    assert process(plan_job(ppo(), here)) == 5
    assert process(plan_job(ppo(stage=rule), here)) == 3
    # A profile that was measured before they were told apart.
    older = Setting(host=machine(baseline={k: v for k, v in sizes.items() if k != "scorer"}))
    found = role(plan_job(ppo(), older), "reward").bytes
    assert found.at_least and "scorer" in found.unavailable


learners = st.builds(
    LearnerSpec,
    zero_stage=st.integers(0, 3),
    precision=st.sampled_from(["fp32", "bf16"]),
    offload_optimizer=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(learner=learners, ranks=st.integers(1, 64), trained=st.integers(1, 10**9))
def test_partitioning_never_needs_more_from_more_ranks(learner, ranks, trained):
    one = engine_states(learner, ranks, trained, 0, trained)
    more = engine_states(learner, 2 * ranks, trained, 0, trained)
    assert more.resident <= one.resident and more.step <= one.step and more.host <= one.host
    # Weights, gradients and Adam are there in any case.
    least = 8 * trained / ranks
    assert one.resident + one.host >= least


@settings(max_examples=40, deadline=None)
@given(
    layers=st.integers(1, 8),
    length=st.integers(16, 512),
    batch=st.integers(1, 6),
    lora=st.booleans(),
)
def test_more_of_anything_needs_no_less(layers, length, batch, lora):
    def planned(layers: int, length: int, batch: int) -> tuple[float, float]:
        raw = sft().model_dump(mode="json")
        raw["model"] |= {"num_layers": layers}
        raw["stages"][0] |= {"max_length": length, "batch_size": 8 * batch}
        plan = plan_job(JobSpec.model_validate(raw), HERE)
        return role(plan, "learner").bytes.value, plan.seconds.value

    base = planned(layers, length, batch)
    for more in (
        planned(layers + 1, length, batch),
        planned(layers, length + 16, batch),
        planned(layers, length, batch + 1),
    ):
        assert more[0] >= base[0] and more[1] > base[1]


def test_what_does_not_fit_is_named_and_mended():
    raw = sft().model_dump(mode="json", exclude_unset=True)
    raw["model"]["num_layers"] = 24
    raw["model"]["hidden_size"] = 1024
    raw["stages"][0] |= {"batch_size": 64, "max_length": 512}
    spec = JobSpec.model_validate(raw | {"learner": {"micro_batch_size": 32}})
    setting = Setting(host=machine(memory=12 * GIB))
    plan = advised(spec, setting, devices=1)
    assert plan.fits is False and "1 × learner" in plan.reasons[0]
    (better,) = [a for a in plan.advice if a.field == "learner.micro_batch_size"]
    changed = spec.model_dump(mode="json")
    for one in plan.advice:
        section, name = one.field.rsplit(".", 1)
        holder = changed
        for key in section.split("."):
            holder = holder[key]
        holder[name] = int(one.better)
    assert plan_job(JobSpec.model_validate(changed), setting).fits is True
    assert int(better.better) < 32


def test_a_job_far_too_large_is_advised_precision_and_adapter(tmp_path):
    folder(tmp_path, layers=80, width=8192, heads=64)
    spec = JobSpec.model_validate(
        sft().model_dump(mode="json") | {"model": {"type": "folder", "path": str(tmp_path)}}
    )
    plan = advised(spec, HERE, devices=1)
    assert plan.fits is False
    assert {a.field for a in plan.advice} == {"learner.precision", "stages[0].adapter"}


def test_what_the_spec_says_is_kept():
    learner = {"micro_batch_size": 1, "zero_stage": 0}
    spec = sft(learner=learner, resources={"learner": {"num_workers": 1}})
    assert advised(spec, HERE, devices=4).advice == ()
    fields = {a.field for a in advised(sft(), HERE, devices=4).advice}
    assert fields & {"resources.learner.num_workers", "learner.micro_batch_size"}


def test_a_reward_that_is_asked_elsewhere_has_no_time_made_up():
    reward = {"type": "http", "url": "https://example.org/score"}
    plan = plan_job(ppo(stage={"reward": reward}), HERE)
    last = plan.stages[-1]
    assert last.phases["judge"].value is None and "http" in last.phases["judge"].unavailable
    assert last.step.at_least and last.step.value > 0 and plan.seconds.at_least


def test_without_a_profile_there_is_memory_and_no_time():
    plan = plan_job(sft(), Setting(host=None))
    assert plan.fits is None and plan.seconds.value is None
    assert "rlhf calibrate" in plan.seconds.unavailable
    assert role(plan, "learner").bytes.value > 0 and role(plan, "learner").bytes.at_least


def test_a_job_on_gpus_needs_one_named_and_fits_it_or_not(tmp_path):
    folder(tmp_path, layers=32, width=4096, heads=32)
    raw = sft().model_dump(mode="json", exclude_unset=True)
    raw |= {"model": {"type": "folder", "path": str(tmp_path)}, "learner": {"precision": "bf16"}}
    raw["resources"] = {"learner": {"num_workers": 1, "gpus_per_worker": 1}}
    spec = JobSpec.model_validate(raw)
    assert plan_job(spec, HERE).fits is None
    plan = plan_job(spec, Setting(host=machine(), gpu=gpu_profile("H100")))
    assert plan.fits is False and "H100" in plan.reasons[0]
    assert "public figures" in plan.source
    raw["learner"] |= {"zero_stage": 3}
    raw["resources"]["learner"]["num_workers"] = 16
    spread = JobSpec.model_validate(raw)
    assert plan_job(spread, Setting(host=machine(), gpu=gpu_profile("H100"))).fits is True


def test_ranks_that_are_too_few_to_hold_the_job_are_named(tmp_path):
    folder(tmp_path, layers=32, width=4096, heads=32)
    raw = sft().model_dump(mode="json", exclude_unset=True)
    raw |= {"model": {"type": "folder", "path": str(tmp_path)}}
    raw["learner"] = {"precision": "bf16", "zero_stage": 3, "micro_batch_size": 1}
    raw["resources"] = {"learner": {"num_workers": 4, "min_workers": 1, "gpus_per_worker": 1}}
    raw["stages"][0]["batch_size"] = 12
    setting = Setting(host=machine(), gpu=gpu_profile("H100"))
    plan = plan_job(JobSpec.model_validate(raw), setting)
    assert plan.fits is True
    [reason] = plan.reasons
    assert reason.startswith("resources.learner.min_workers: with only 1 of the learner ranks")
    raw["resources"]["learner"]["min_workers"] = 3
    assert plan_job(JobSpec.model_validate(raw), setting).reasons == ()


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_computes_no_faster_than_its_maker_says(name):
    profile, gpu = gpu_profile(name), GPUS[name]
    for precision, peak in (("bf16", gpu.bf16), ("fp32", gpu.fp32)):
        rates = [rate for _, rate in profile.arithmetic(precision, 1).matmul]
        assert max(rates) <= peak * 1e12
    assert profile.memory == gpu.memory * 1e9


def folder(path, layers: int, width: int, heads: int) -> None:
    """A Llama-style folder, described and without weights."""
    config = {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": 11008,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    }
    (path / "config.json").write_text(json.dumps(config))


def test_weights_that_contradict_their_description_are_not_planned_by_it(tmp_path):
    folder(tmp_path, layers=2, width=64, heads=2)
    assert not isinstance(read_folder(tmp_path), Unknown)
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model.safetensors")
    assert count_parameters(tmp_path) == 22
    found = read_folder(tmp_path)
    assert isinstance(found, Unknown) and "22 parameters" in found.why


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 16, b"\x10\0\0\0\0\0\0\0{", b"[]", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_broken_folders_are_unknown(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert isinstance(read_folder(tmp_path), Unknown)
    assert count_parameters(tmp_path) is None


def test_an_unknown_network_leaves_the_rest_of_the_plan(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    raw = sft().model_dump(mode="json") | {"model": {"type": "folder", "path": str(tmp_path)}}
    plan = plan_job(JobSpec.model_validate(raw), HERE)
    assert "mamba" in plan.stages[0].step.unavailable and plan.fits is None
    assert role(plan, "driver").bytes.value > 0


def test_a_profile_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "control" / "profile.json"
    assert read_profile(path) is None
    write_profile(machine(), path)
    assert read_profile(path) == machine()
    path.write_text('{"format": 1}')
    with pytest.raises(StorageError, match="rlhf calibrate"):
        read_profile(path)
