"""A real embedded service: Ray cluster, control plane, SQLite, in a temporary folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from api.embedded import Embedded
from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.collector import Collector, collecting
from tests.unit import conftest as unit

corpus = unit.corpus
pipeline_spec = unit.pipeline_spec

# Ray looks at it once, when it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
# What an operator allows; the service and its cluster inherit it.
os.environ.setdefault("RLHF_ALLOW_PRIVATE_URLS", "1")
os.environ.setdefault("RLHF_ALLOW_PYTHON_GRADERS", "1")

PLAIN = httpx.Client(verify=False, timeout=5)
"""Without TLS: to load certificates, as `httpx.get` does, takes as long as a hundred requests."""

JOB_SECONDS = 400.0
TEST_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole job, killed and recovered, takes minutes on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Put back after each test: a cluster that it started has left its token there, which a control
    plane that is started again would take for its own cluster's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the service keeps copies of jobs' files."""
    folder = tmp_path_factory.mktemp("copies")
    os.environ["RLHF_ARTEFACTS"] = folder.as_uri()
    yield folder
    del os.environ["RLHF_ARTEFACTS"]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Who is sent the traces of the service and its jobs."""
    with collecting() as running:
        os.environ["RLHF_OTLP_ENDPOINT"] = running.endpoint
        yield running
    del os.environ["RLHF_OTLP_ENDPOINT"]


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, copies: Path, collector: Collector
) -> Iterator[Embedded]:
    with Embedded(
        tmp_path_factory.mktemp("service"), 0, (tmp_path_factory.getbasetemp(),)
    ) as running:
        yield running


@pytest.fixture
def client(service: Embedded) -> Iterator[Client]:
    with Client(service.url, service.api_key) as connected:
        yield connected


def wait_until(true: Callable[[], bool], seconds: float, what: str, every: float = 0.25) -> None:
    """Poll until `true()`. Fails the test at the deadline, and tells how long each thing took."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if true():
            print(f"waited {time.monotonic() - began:.1f} s for {what}")
            return
        time.sleep(every)  # asking oftener takes what it waits for the time of a core
    pytest.fail(f"{what} did not happen within {seconds:g} s")


def answers(url: str) -> bool:
    """Whether a GET succeeds."""
    try:
        return PLAIN.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def finish(client: Client, job_id: str) -> JobStatus:
    """Wait for the job's end."""
    wait_until(
        lambda: client.jobs.get(job_id).status.is_terminal,
        JOB_SECONDS,
        f"the end of {job_id}",
        every=0.5,
    )
    return client.jobs.get(job_id).status


def processes(service: Embedded, title: str) -> list[psutil.Process]:
    """The service's live processes whose command line contains `title`."""
    assert service.cluster.pid is not None
    found = []
    for process in psutil.Process(service.cluster.pid).children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
