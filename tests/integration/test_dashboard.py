"""Ray's own dashboard through the service."""

from __future__ import annotations

import re

import httpx

from api.embedded import Embedded


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
