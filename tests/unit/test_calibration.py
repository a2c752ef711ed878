"""What `rlhf calibrate` measures: on a processor, and laid out for a GPU."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cluster.calibrate import main, storage
from cluster.weighing import _occupy
from rlhf_service.cli.app import app
from rlhf_service.planning.calibration import clock, kernels, networks
from rlhf_service.planning.calibration.clock import fastest
from rlhf_service.planning.calibration.kernels import SIZES
from rlhf_service.planning.catalogue import gpu_profile
from rlhf_service.planning.device import write_profile
from tests.planning import machine, sft

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def test_a_curve_has_every_size_and_counts_products_made_at_once(monkeypatch):
    sizes = replace(SIZES["cpu"], products=(16, 32, 64), filling=2048)
    monkeypatch.setitem(SIZES, "cpu", sizes)
    made = []

    def a_while(work, device, **_):
        made.append(tuple(work().shape))
        return 0.1

    monkeypatch.setattr(kernels, "fastest", a_while)
    curve = kernels.matmul_curve(torch.float32, CPU)
    assert made == [(8, 16, 16), (2, 32, 32), (64, 64)]
    assert [size for size, _ in curve] == [16.0, 32.0, 64.0]
    wanted = [10 * 8 * 2 * 16**3, 10 * 2 * 2 * 32**3, 10 * 2 * 64**3]
    assert [rate for _, rate in curve] == pytest.approx(wanted)


def test_on_a_processor_products_are_made_one_by_one(monkeypatch):
    made = []
    monkeypatch.setattr(kernels, "fastest", lambda work, *_, **__: made.append(work().shape) or 1.0)
    [(size, rate)] = kernels.matmul_curve(torch.float32, CPU)
    assert (size, rate, made) == (16.0, 2 * 16**3, [(16, 16)])  # a second is slow: the last


def test_a_processor_is_timed_call_by_call_and_a_gpu_by_many(monkeypatch):
    time, calls = [0.0], []

    def work() -> None:
        calls.append(1)
        time[0] += 1e-4

    monkeypatch.setattr(clock, "now", lambda _: time[0])
    assert fastest(work, CPU, seconds=0, least=3) == pytest.approx(1e-4)
    assert len(calls) == 1 + 3
    calls.clear()
    assert fastest(work, GPU, seconds=0, least=3) == pytest.approx(1e-4)
    assert len(calls) == 2 + 3 * 20  # 2 ms at once


def test_a_run_that_the_clock_missed_is_passed_over(monkeypatch):
    """A kernel that takes stolen time off a run may leave it with none: seen once in a million."""
    time, calls = [0.0], []

    def work() -> None:
        calls.append(1)
        time[0] += {7: 0.0, 8: 5e-4}.get(len(calls), 1e-4)

    monkeypatch.setattr(clock, "now", lambda _: time[0])
    assert fastest(work, CPU, seconds=0, least=20) == pytest.approx(1e-4)


@DTYPES
def test_tensors_of_a_gpu_lie_there(monkeypatch, dtype):
    """On torch's device without data, which refuses to be mixed with another."""
    nowhere = torch.device("meta")
    monkeypatch.setitem(SIZES, "meta", SIZES["cuda"])
    found = []

    def run(work, device, **_):
        made = work()
        found.extend(made if isinstance(made, tuple) else [made])
        return 1e-3

    monkeypatch.setattr(kernels, "fastest", run)
    curve = kernels.matmul_curve(dtype, nowhere)
    assert [size for size, _ in curve] == list(SIZES["cuda"].products) and curve[-1][0] == 8192
    assert kernels.bandwidth(nowhere) >= 2**30 / 1e-3
    kernels.draw_cost(nowhere)
    network = networks.trunk("llama", networks.LARGE["cuda"], 1, dtype, nowhere)
    run_ = networks.Run(network, networks.LARGE["cuda"].one)
    found += [*network.parameters(), *network.buffers(), run_._ids, run_._mask]
    assert {tensor.device for tensor in found} == {nowhere}


def test_without_cuda_a_gpu_is_refused_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda", "--out", str(tmp_path / "profile.json")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: torch") and said.count("\n") == 1
    assert "--device cpu" in said
    assert "DS_ACCELERATOR" not in os.environ and not list(tmp_path.iterdir())


def test_threads_are_not_a_gpus(capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cuda", "--threads", "1,2"])
    assert "--threads" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_process_that_cannot_use_the_gpu_says_why():
    ours, theirs = multiprocessing.Pipe()
    _occupy(theirs)
    assert ours.poll(0) and "\n" not in (said := ours.recv()) and said


def on_gpu(tmp_path, **learner):
    spec = sft(resources={"learner": {"num_workers": 1, "gpus_per_worker": 1}}, **learner)
    path = tmp_path / "job.json"
    path.write_text(spec.model_dump_json(exclude_unset=True))
    return path


def planned(job, *words):
    ran = CliRunner().invoke(app, ["plan", str(job), "--json", *map(str, words)])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.output)


@pytest.fixture
def measured(tmp_path):
    """Profiles of a GPU and of its machine."""
    gpu, host = tmp_path / "gpu.json", tmp_path / "host.json"
    h100 = gpu_profile("H100")
    write_profile(h100.model_copy(update={"source": "measured", "name": "GPU 0"}), gpu)
    write_profile(machine(), host)
    return gpu, host


def test_a_job_on_gpus_is_planned_by_a_measured_one(tmp_path, measured):
    gpu, host = measured
    job = on_gpu(tmp_path)
    alone = planned(job, "--profile", gpu)
    assert (alone["device"], alone["source"]) == ("GPU 0", "measured")
    assert alone["fits"] is None and "rlhf calibrate" in alone["reasons"][0]
    both = planned(job, "--profile", host, "--profile", gpu)
    assert both["fits"] is True and both["device"] == "GPU 0"
    assert both["seconds"]["value"] == alone["seconds"]["value"] > 0
    assert not any("public figures" in one for one in both["assumptions"])
    named = planned(job, "--profile", host, "--gpu", "H100")
    assert named["seconds"] == both["seconds"]
    assert any("public figures" in one for one in named["assumptions"])


def test_two_gpus_to_plan_for_are_refused(tmp_path, measured):
    gpu, _ = measured
    words = ["plan", str(on_gpu(tmp_path)), "--profile", str(gpu), "--gpu", "H100"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 1 and "different GPUs" in ran.output and "Traceback" not in ran.output


def test_a_profile_goes_where_the_service_of_this_folder_looks_for_it(tmp_path, monkeypatch):
    below = tmp_path / "data" / "mine"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv("RLHF_STORAGE", raising=False)
    assert storage() == Path(".rlhf") / "storage"
    (tmp_path / ".rlhf" / "storage").mkdir(parents=True)
    assert storage() == tmp_path / ".rlhf" / "storage"
    (below / "rlhf-storage").mkdir()
    assert storage() == Path("rlhf-storage")
    monkeypatch.chdir(tmp_path)
    assert storage() == Path(".rlhf") / "storage"
    monkeypatch.setenv("RLHF_STORAGE", "/shared/rlhf")
    assert storage() == Path("/shared/rlhf")
