"""A fake Kubernetes, a launcher on it, and attempts to submit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kuberay.launcher import KubeRayLauncher
from cluster.kuberay.settings import KubeRaySettings
from rlhf_service.launching import LaunchRequest
from rlhf_service.spec import JobSpec
from tests.kuberay.objects import FakeKubernetes
from tests.kuberay.operator import Operator
from tests.kuberay.server import serving

JSON = dict[str, Any]

POD: JSON = {
    "metadata": {"labels": {"app.kubernetes.io/component": "ray"}},
    "spec": {
        "serviceAccountName": "ray",
        "terminationGracePeriodSeconds": 300,
        "containers": [
            {
                "name": "ray",
                "image": "worker:1",
                "resources": {"limits": {"cpu": "2", "memory": "8Gi"}},
                "volumeMounts": [{"name": "storage", "mountPath": "/storage"}],
            }
        ],
        "volumes": [{"name": "storage", "persistentVolumeClaim": {"claimName": "shared"}}],
    },
}


def settings_of(**given: object) -> KubeRaySettings:
    base: JSON = {
        "namespace": "rlhf",
        "auth_secret": "ray-token",
        "head": POD,
        "cpu_worker": POD,
        "gpu_worker": POD,
    }
    return KubeRaySettings.model_validate(base | given)


def job_spec(**resources: object) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "small",
            "model": {"type": "scratch", "architecture": "gpt2", "vocab_size": 300},
            "stages": [{"type": "sft", "data": {"path": "/data/sft.jsonl"}, "steps": 1}],
            "resources": resources,
        }
    )


def ppo_spec(**resources: object) -> JobSpec:
    """A job with pools."""
    ppo = {
        "type": "ppo",
        "prompts": {"path": "/data/prompts.jsonl"},
        "reward": {"type": "length", "target": 10},
        "steps": 1,
        "max_prompt_length": 8,
        "prompts_per_step": 64,
    }
    stages = [{"type": "sft", "data": {"path": "/data/sft.jsonl"}, "steps": 1, "batch_size": 64}]
    base = job_spec().model_dump(mode="json", exclude_unset=True)
    return JobSpec.model_validate(base | {"stages": [*stages, ppo], "resources": resources})


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    with serving(FakeKubernetes()) as fake:
        yield fake


@pytest.fixture
def operator(kubernetes) -> Operator:
    return Operator(kubernetes)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A service account's folder."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("first-token")
    return folder


@pytest.fixture
def make_launcher(kubernetes, account, tmp_path) -> Iterator[Callable[..., KubeRayLauncher]]:
    made: list[KubeRayLauncher] = []

    def make(**given: object) -> KubeRayLauncher:
        own = {"api_server": kubernetes.url, "credentials": account}
        made.append(KubeRayLauncher(settings_of(**own, **given), tmp_path / "jobs"))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


@pytest.fixture
def launcher(make_launcher) -> KubeRayLauncher:
    return make_launcher()


@pytest.fixture
def make_request(tmp_path) -> Callable[..., LaunchRequest]:
    def make(attempt: int = 1, job_id: str = "job-0001", **resources: object) -> LaunchRequest:
        folder = tmp_path / "jobs" / job_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(job_spec(**resources).model_dump_json())
        return LaunchRequest(
            job_id=job_id,
            attempt=attempt,
            job_name="A name, with ünïcode",
            storage=str(folder),
            events_url="http://trainer:8000/v1/internal/jobs/x/events",
            events_token="a-secret",
        )

    return make


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.01)
    pytest.fail(f"{what} did not happen within {seconds:g} s")
