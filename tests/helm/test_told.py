"""What the chart tells the control plane of its workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.chart import CHART, pods, rendered, run

pytestmark = pytest.mark.usefixtures("real_helm")

TRIAL = ("--values", str(Path(__file__).parent / "values" / "trial.yaml"))
GPUS = ("--set", "ray.gpuWorkers.enabled=true")


def told(*arguments: str) -> dict[str, str]:
    """The control plane's variables that have their values in the chart."""
    [pod] = [p for name, p in pods(rendered(*TRIAL, *arguments)) if name == "Deployment/trainer"]
    return {v["name"]: v["value"] for v in pod["containers"][0]["env"] if "value" in v}


def test_jobs_that_ask_for_vllm_find_the_environment_of_the_image_of_gpu_workers():
    assert "RLHF_VLLM_PYTHON" not in told(), "the image of CPU workers has none"
    assert told(*GPUS)["RLHF_VLLM_PYTHON"] == "/opt/vllm/bin/python"
    assert told(*GPUS, "--set", "launcher=kuberay")["RLHF_VLLM_PYTHON"] == "/opt/vllm/bin/python"
    assert "RLHF_VLLM_PYTHON" not in told(*GPUS, "--set", "ray.gpuWorkers.vllmPython=")
    own = ("--set", "ray.cpuWorkers.vllmPython=/opt/vllm-cpu/bin/python")
    assert told(*own)["RLHF_VLLM_PYTHON"] == "/opt/vllm-cpu/bin/python"
    both = run("template", "trainer", str(CHART), *TRIAL, *GPUS, *own)
    assert both.returncode != 0 and "ray.cpuWorkers.vllmPython" in both.stderr
    image = (CHART.parents[1] / "docker" / "worker-cuda.Dockerfile").read_text(encoding="utf-8")
    assert "python3.11 -m venv /opt/vllm " in image and "COPY --from=build /opt/vllm " in image


def test_the_control_plane_knows_what_the_cluster_can_grow_to():
    known = told()
    assert (known["RLHF_CLUSTER_MAX_CPUS"], known["RLHF_CLUSTER_GROWTH_SECONDS"]) == ("16", "900")
    assert "RLHF_CLUSTER_MAX_GPUS" not in known
    large = ("--set", "ray.gpuWorkers.maxReplicas=3", "--set", "ray.gpuWorkers.gpus=8")
    # Ray counts a part of a CPU as one.
    odd = ("--set", "ray.cpuWorkers.resources.limits.cpu=2500m")
    known = told(*GPUS, *large, *odd)
    assert known["RLHF_CLUSTER_MAX_CPUS"] == str(4 * 3 + 3 * 8)
    assert known["RLHF_CLUSTER_MAX_GPUS"] == "24"
    fixed = told("--set", "ray.autoscaling.enabled=false")
    assert not any(name.startswith("RLHF_CLUSTER_") for name in fixed)
    assert not any(name.startswith("RLHF_CLUSTER_") for name in told("--set", "launcher=kuberay"))


def test_a_setting_by_name_takes_the_place_of_the_charts():
    given = ("--set-string", "controlPlane.settings.RLHF_CLUSTER_MAX_CPUS=64")
    [pod] = [p for name, p in pods(rendered(*TRIAL, *given)) if name == "Deployment/trainer"]
    found = [v for v in pod["containers"][0]["env"] if v["name"] == "RLHF_CLUSTER_MAX_CPUS"]
    assert [v["value"] for v in found] == ["64"]
