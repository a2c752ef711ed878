"""The control plane's and the CPU worker's image: built, run, and a job trained by the two together.

make test-images    # podman or what stands in for it; see docs/deploy/images.md
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.images.podman import running
from tests.images.waiting import answers, wait_until
from tests.small import pipeline_of, write_corpus

pytestmark = pytest.mark.timeout(1800)

KEY = "rlhf_images-of-a-test"
TOKEN = "i" * 64
USER = 10001
"""Of both images."""
JOB_SECONDS = 600.0


@pytest.fixture
def storage() -> Iterator[Path]:
    """A volume that the images' user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="rlhf-images-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def control_settings(port: int) -> dict[str, str]:
    return {
        "RLHF_HOST": "127.0.0.1",
        "RLHF_PORT": str(port),
        "RLHF_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "RLHF_MIGRATE": "true",
        "RLHF_BOOTSTRAP_KEY": KEY,
        "RLHF_RAY_ADDRESS": "http://127.0.0.1:8265",
        "RAY_AUTH_TOKEN": TOKEN,
    }


def test_the_control_plane_serves_as_a_plain_user_without_torch(control_plane_image, storage, port):
    with running(control_plane_image, control_settings(port), {storage: "/storage"}) as container:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/livez"), 120, container.logs)
        assert int(container.run("id", "-u")) == USER
        assert "torch" not in container.run("pip", "list")
        assert httpx.get(f"{url}/v1/jobs", headers={"authorization": f"Bearer {KEY}"}).json()
        assert "text/html" in httpx.get(url).headers["content-type"]
        assert container.stop() == 0


def test_a_job_is_trained_by_the_two_images(control_plane_image, worker_image, storage, port):
    ray = (
        *("ray", "start", "--head", "--block", "--num-cpus=4", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--dashboard-port=8265"),
        "--object-store-memory=200000000",
    )
    volumes = {storage: "/storage"}
    with (
        running(worker_image, {"RAY_AUTH_TOKEN": TOKEN}, volumes, ray) as worker,
        running(control_plane_image, control_settings(port), volumes) as control,
    ):
        wait_until(worker.healthy, 180, worker.logs)
        assert int(worker.run("id", "-u")) == USER
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/readyz"), 180, control.logs)
        (storage / "data").mkdir(exist_ok=True)
        corpus = write_corpus(storage / "data")
        inside = {name: path.replace(str(storage), "/storage") for name, path in corpus.items()}
        with Client(url, KEY) as client:
            job = client.jobs.create(pipeline_of(inside).model_dump(mode="json"))
            wait_until(lambda: client.jobs.get(job.id).status.is_terminal, JOB_SECONDS, worker.logs)
            ended = client.jobs.get(job.id)
            said = f"{ended.message}\n{client.jobs.logs(job.id)[-4000:]}"
            assert ended.status is JobStatus.SUCCEEDED, said
