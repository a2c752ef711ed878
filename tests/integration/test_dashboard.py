"""A job that goes on until it is cancelled, and Ray's own dashboard of it through the service."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from api.embedded import Embedded
from cluster.launcher import RayJobLauncher
from rlhf_service.client import Client
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.storage import JobFolder
from tests.browser.conftest import CHROMIUM
from tests.integration.conftest import finish
from tests.integration.ray_pages import PAGES, signed_in, start_job
from tests.small import write_corpus


def test_rays_dashboard_is_seen_through_the_service_and_changed_by_nobody(
    service: Embedded,
) -> None:
    token = service.cluster.token_file.read_text()
    with httpx.Client(base_url=service.url, timeout=30) as nobody:
        assert nobody.get("/ray/").status_code == 401
        answer = nobody.post("/ray/session", data={"api_key": service.api_key})
        assert answer.status_code == 303
        page = nobody.get("/ray/")  # by the cookie
        assert "Ray Dashboard" in page.text
        script = re.search(r'src="\./(static/[^"]+)"', page.text)
        assert script is not None
        code = nobody.get(f"/ray/{script[1]}")
        assert code.status_code == 200 and len(code.content) > 100_000
        assert "javascript" in code.headers["content-type"]
        actors = nobody.get("/ray/api/v0/actors?limit=10").json()
        assert isinstance(actors["data"]["result"]["result"], list)
        jobs = nobody.get("/ray/api/jobs/")
        assert isinstance(jobs.json(), list)
        for seen in (page, jobs):
            assert token not in seen.text and "set-cookie" not in seen.headers
        assert nobody.post("/ray/api/jobs/", json={"entrypoint": "true"}).status_code == 405
        assert nobody.get("/ray/worker/traceback").status_code == 404


@pytest.fixture(scope="module")
def endless(service: Embedded, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that draws responses until it is cancelled."""
    with Client(service.url, service.api_key) as client:
        return start_job(client, write_corpus(tmp_path_factory.mktemp("endless")))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_finds_the_job_by_its_name_what_we_say_of_it_and_its_actors(
    service: Embedded, endless: str
) -> None:
    faults: list[str] = []
    with signed_in(service, faults) as page:
        for show in PAGES.values():
            show(page, service, endless)
    assert faults == []


def test_cancel_leaves_a_checkpoint_and_nothing_else(
    service: Embedded, client: Client, endless: str
) -> None:
    asked_at = time.monotonic()
    client.jobs.cancel(endless)
    assert finish(client, endless) is JobStatus.CANCELLED
    assert time.monotonic() - asked_at < 20
    assert RayJobLauncher(service.cluster.dashboard_url).leftovers(endless) == []
    checkpoints = JobFolder(service.folder / "storage" / "jobs" / endless).checkpoints
    assert (max(checkpoints.glob("ppo-step-*")) / "MANIFEST").exists()
    assert client.jobs.get(endless).reason is StopReason.CANCELLED_BY_USER
