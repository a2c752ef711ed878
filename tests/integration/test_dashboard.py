"""Ray's own dashboard through the service."""

from __future__ import annotations

import re
import shutil

import httpx
import pytest

from api.embedded import Embedded

CHROMIUM = shutil.which("chromium")


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
        nodes = nobody.get("/ray/nodes?view=summary").json()
        assert nodes["result"] is True
        actors = nobody.get("/ray/api/v0/actors?limit=10").json()
        assert actors["result"] is True
        jobs = nobody.get("/ray/api/jobs/")
        assert isinstance(jobs.json(), list)
        for seen in (page, jobs):
            assert token not in seen.text and "set-cookie" not in seen.headers
        assert nobody.post("/ray/api/jobs/", json={"entrypoint": "true"}).status_code == 405
        assert nobody.get("/ray/worker/traceback").status_code == 404
    assert httpx.get(f"{service.cluster.dashboard_url}/api/jobs/").status_code in (401, 403)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_the_dashboard_and_breaks_no_policy(service: Embedded) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{service.url}/ray/session")
        page.get_by_label("API key").fill(service.api_key)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("link", name="Actors")).to_be_visible(timeout=60_000)
        page.goto(f"{service.url}/ray/#/cluster")
        expect(page.get_by_text("ALIVE").first).to_be_visible(timeout=60_000)
        browser.close()
    assert not [text for text in said if "Content Security Policy" in text]
