"""The compose file as it stands: all its services brought up, and a job through them."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.images.podman import podman
from tests.images.stack import Stack, brought_up
from tests.images.waiting import answers, wait_until
from tests.small import pipeline_of, write_corpus

pytestmark = pytest.mark.timeout(3600)

URL = "http://127.0.0.1:8000"
SECRETS = {
    "RLHF_API_KEY": "rlhf_compose-of-a-test",
    "RAY_AUTH_TOKEN": "c" * 64,
    "POSTGRES_PASSWORD": "of-a-test",
}
READY_SECONDS = 300.0
JOB_SECONDS = 900.0


@pytest.fixture
def images(control_plane_image: str, worker_image: str) -> None:
    """Under the names that the compose file has for them."""
    for image in (control_plane_image, worker_image):
        podman("tag", image, image.replace(":test", ":0.1.0"))


@pytest.fixture
def client() -> Client:
    return Client(URL, SECRETS["RLHF_API_KEY"])


def ready(stack: Stack) -> None:
    wait_until(lambda: answers(f"{URL}/readyz"), READY_SECONDS, stack.logs)


def uploaded(client: Client, folder: Path) -> dict[str, str]:
    """The small corpus in the service's storage: name → path as a specification names it."""
    found = {}
    for name, path in write_corpus(folder).items():
        with Path(path).open("rb") as file:
            found[name] = client.files.upload(file, Path(path).name).path
    return found


def test_a_job_is_trained_and_everything_outlives_the_containers(images, client, tmp_path):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.fail("something listens on port 8000, which the compose file publishes")
    with brought_up(SECRETS) as stack, client:
        ready(stack)
        spec = pipeline_of(uploaded(client, tmp_path)).model_dump(mode="json")
        job = client.jobs.create(spec)
        wait_until(lambda: client.jobs.get(job.id).status.is_terminal, JOB_SECONDS, stack.logs)
        ended = client.jobs.get(job.id)
        assert ended.status is JobStatus.SUCCEEDED, f"{ended.message}\n{stack.logs()}"
        in_database = ("psql", "-U", "rlhf", "-tAc", "select id, status from jobs")
        assert stack.run("database", *in_database).split() == [f"{job.id}|succeeded"]
        events = [event.seq for event in client.jobs.events(job.id)]

        stack.compose("down")
        stack.up()
        ready(stack)
        assert client.jobs.get(job.id) == ended
        assert [event.seq for event in client.jobs.events(job.id)] == events
        assert events == list(range(1, len(events) + 1))
        model = stack.run("control-plane", "cat", f"/storage/jobs/{job.id}/model/config.json")
        assert json.loads(model)["vocab_size"] > 0
