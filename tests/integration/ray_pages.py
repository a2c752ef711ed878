"""Ray's dashboard in Chromium while a job runs, through the service's own door.

python -m tests.integration.ray_pages        writes the pictures of docs/operations.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from api.embedded import Embedded
from rlhf_service.client import Client
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.integration.conftest import wait_until
from tests.small import pipeline_of, write_corpus

IMAGES = Path(__file__).parents[2] / "docs" / "images"
START_SECONDS = 300
PAGE_SECONDS = 60
ROLES = ("rollout-0", "rollout-1", "reward-0", "weights")


def start_job(client: Client, corpus: dict[str, str]) -> str:
    """Id of a job that draws responses, and goes on until it is cancelled."""
    spec = pipeline_of(corpus).model_dump(mode="json")
    spec["name"] = "film reviews"
    spec["stages"][2]["steps"] = 5000
    spec["resources"]["rollout"] = {"num_actors": 2, "cpus_per_actor": 0.25}
    job_id = client.jobs.create(spec).id

    def draws() -> bool:
        job = client.jobs.get(job_id)
        assert not job.status.is_terminal, f"{job.status}: {job.message}"
        return job.progress.stage == "ppo" and job.progress.step > 0

    wait_until(draws, START_SECONDS, "the first step of PPO")
    return job_id


@contextmanager
def signed_in(service: Embedded, faults: list[str]) -> Iterator[Page]:
    """A page of the dashboard, by the form that takes the key; `faults` of its scripts are added."""
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 720})
        page.set_default_timeout(PAGE_SECONDS * 1000)
        expect.set_options(timeout=PAGE_SECONDS * 1000)
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        try:
            page.goto(f"{service.url}/ray/session")
            page.get_by_label("API key").fill(service.api_key)
            page.get_by_role("button", name="Open").click()
            page.wait_for_url(f"{service.url}/ray/**")
            yield page
        finally:
            browser.close()


def show_jobs(page: Page, service: Embedded, job_id: str) -> None:
    """The list, where the job stands by its name and attempt."""
    page.goto(f"{service.url}/ray/#/jobs")
    row = page.get_by_role("row").filter(has_text=f"{job_id}-a1")
    expect(row).to_contain_text("film reviews")
    expect(row).to_contain_text("RUNNING")


def show_job(page: Page, service: Embedded, job_id: str) -> None:
    """The job's own page, with all that we say of it."""
    row = page.get_by_role("row").filter(has_text=f"{job_id}-a1")
    row.get_by_role("link").first.click()
    expect(page.get_by_text("User-provided metadata")).to_be_visible()
    page.get_by_text("Expand", exact=True).first.click()
    said = page.get_by_role("dialog")
    for line in ('"job_name": "film reviews"', f'"rlhf_job": "{job_id}"', '"attempt": "1"'):
        expect(said).to_contain_text(line)


def show_actors(page: Page, service: Embedded, job_id: str) -> None:
    """Those of the job, by their names."""
    page.goto(f"{service.url}/ray/#/actors")
    page.get_by_label("Name", exact=True).fill(f"rlhf/{job_id}")
    for role in ROLES:
        row = page.get_by_role("row").filter(has_text=f"rlhf/{job_id}/{role}")
        expect(row).to_contain_text("ALIVE")
    # A header, the job's actors, and no others.
    expect(page.get_by_role("row")).to_have_count(1 + len(ROLES))


PAGES = {"ray-jobs": show_jobs, "ray-job": show_job, "ray-actors": show_actors}
"""In the order in which they are opened."""


def main() -> int:
    """Take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with (
            Embedded(root / "service", 0, (root,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            job_id = start_job(client, write_corpus(root))
            with signed_in(service, []) as page:
                for name, show in PAGES.items():
                    show(page, service, job_id)
                    page.screenshot(path=IMAGES / f"{name}.png")
                    print(IMAGES / f"{name}.png", flush=True)
            client.jobs.cancel(job_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
