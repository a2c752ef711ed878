"""Ray's dashboard behind the proxy: who sees it, what passes, and what never does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from api.service import sessions
from api.service.dashboard import SHOWN, without
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.test_tenants import tenant
from tests.api.world import World, running

RAY_TOKEN = "ray-secret-0123456789abcdef"
sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(slots=True)
class Ray:
    """A dashboard that remembers what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", RAY_TOKEN)
    made = Ray()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.asked.append((self.command, self.path, headers))
            body, kind = b"<html>dashboard</html>", "text/html"
            if self.path.startswith("/api/v0/logs/file"):
                body, kind = f"<script>1</script> {RAY_TOKEN} end".encode(), "text/html"
            elif self.path.startswith("/api/"):
                body, kind = b'{"version": "1"}', "application/json"
            taken = headers.get("authorization") == f"Bearer {RAY_TOKEN}"
            self.send_response(200 if taken else 403)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("set-cookie", f"ray-authentication-token={RAY_TOKEN}; Path=/")
            self.send_header("access-control-allow-origin", "*")
            self.send_header("keep-alive", "timeout=5")
            self.send_header("x-ray-inside", RAY_TOKEN)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest_asyncio.fixture
async def here(tmp_path: Path, database_url: str, ray: Ray) -> AsyncIterator[World]:
    settings = make_settings(tmp_path, database_url, ray_address=ray.url)
    async with running(settings, FakeLauncher()) as world:
        yield world


def browser(world: World, scheme: str = "http") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=world.app)
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://test")


@pytest.mark.asyncio
@sqlite
async def test_what_passes_in_both_directions(here: World, ray: Ray) -> None:
    headers = {"cookie": "a=b; rlhf_ray=x", "x-forwarded-for": "1.2.3.4", "te": "trailers"}
    answer = await here.client.get("/ray/api/v0/nodes?limit=5&detail=1", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"version": "1"})
    method, path, sent = ray.asked[-1]
    assert (method, path) == ("GET", "/api/v0/nodes?limit=5&detail=1")
    assert sent["authorization"] == f"Bearer {RAY_TOKEN}"
    assert not {"cookie", "x-forwarded-for", "te"} & sent.keys()
    assert here.key not in str(sent)
    gone = {"set-cookie", "access-control-allow-origin", "keep-alive", "x-ray-inside"}
    assert not gone & answer.headers.keys()
    assert RAY_TOKEN not in str(answer.headers)
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    head = await here.client.head("/ray/")
    assert (head.status_code, head.content, ray.asked[-1][0]) == (200, b"", "HEAD")
    page = await here.client.get("/ray/")
    assert page.headers["content-type"].startswith("text/html")
    moved = await here.client.get("/ray")
    assert (moved.status_code, moved.headers["location"]) == (307, "/ray/")


@pytest.mark.asyncio
@sqlite
async def test_a_log_is_never_a_page_and_never_tells_the_token(here: World) -> None:
    answer = await here.client.get("/ray/api/v0/logs/file?filename=x")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == f"<script>1</script> {'*' * len(RAY_TOKEN)} end"


@pytest.mark.asyncio
@sqlite
async def test_nothing_but_looking_reaches_ray(here: World, ray: Ray) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        answer = await here.client.request(method, "/ray/api/jobs/", json={})
        assert answer.status_code == 405, method
    for path in (
        "api/actors/kill?actor_id=1&force_kill=true",
        "worker/cpu_profile?pid=1",
        "worker/traceback?pid=1",
        "task/traceback",
        "memory_profile?pid=1",
        "api/packages/gcs/x.zip",
        "api/v0/delay/5",
        "test/dump",
        "static/../api/actors/kill",
        "static/%2e%2e/api/actors/kill",
        "static/..%2fapi/actors/kill",
        "/evil.test/",
        "//evil.test/static/x",
        "nodes/a/b",
    ):
        answer = await here.client.get(httpx.URL(f"http://test/ray/{path}"))
        assert answer.status_code == 404, path
    assert ray.asked == []


@pytest.mark.asyncio
@sqlite
async def test_only_the_operators_admins_see_it(here: World, ray: Ray) -> None:
    async with browser(here) as nobody:
        assert (await nobody.get("/ray/api/version")).status_code == 401
        wrong = {"authorization": "Bearer rlhf_wrong"}
        assert (await nobody.get("/ray/", headers=wrong)).status_code == 401
        forged = {"cookie": "rlhf_ray=key-1.99999999999.00"}
        assert (await nobody.get("/ray/", headers=forged)).status_code == 401
    async with tenant(here, "default", "write") as writer, tenant(here, "blue", "admin") as blue:
        for client in (writer, blue):
            assert (await client.get("/ray/")).status_code == 403
            key = client.headers["authorization"].removeprefix("Bearer ")
            answer = await client.post("/ray/session", data={"api_key": key})
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert ray.asked == []


@pytest.mark.asyncio
@sqlite
async def test_a_browser_signs_in_once(
    here: World, ray: Ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(here, "https") as user:
        form = await user.get("/ray/session")
        assert 'action="/ray/session"' in form.text
        page = {"accept": "text/html,application/xhtml+xml"}
        sent = await user.get("/ray/", headers=page)
        assert (sent.status_code, sent.headers["location"]) == (303, "/ray/session")
        wrong = page | {"authorization": "Bearer rlhf_wrong"}
        assert (await user.get("/ray/", headers=wrong)).status_code == 401
        refused = await user.post("/ray/session", data={"api_key": "rlhf_wrong"})
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
        key = (await here.client.post("/v1/keys", json={"scopes": ["admin"]})).json()
        answer = await user.post("/ray/session", data={"api_key": key["secret"]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ray/")
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Secure", "Path=/ray", "Max-Age="):
            assert part in cookie
        assert key["secret"] not in cookie
        assert (await user.get("/ray/")).status_code == 200
        assert "cookie" not in ray.asked[-1][2]
        # The cookie opens nothing else, wherever it is shown.
        assert (await user.get("/v1/jobs", headers={"cookie": cookie})).status_code == 401
        real = sessions.time.time
        monkeypatch.setattr(sessions.time, "time", lambda: real() + sessions.SESSION_SECONDS + 1)
        assert (await user.get("/ray/")).status_code == 401
        assert (await user.get("/ray/", headers=page)).status_code == 303
        monkeypatch.setattr(sessions.time, "time", real)
        assert (await user.get("/ray/")).status_code == 200
        await here.client.delete(f"/v1/keys/{key['id']}")
        assert (await user.get("/ray/")).status_code == 401
    (entry,) = (await here.get("/v1/audit", action="begin_session", caller_id=key["id"]))["data"]
    assert (entry["outcome"], entry["path"]) == ("done", "/ray/session")


@pytest.mark.asyncio
@sqlite
async def test_a_dashboard_that_is_away_or_refuses(
    here: World, ray: Ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    answer = await here.client.get("/ray/")
    assert (answer.status_code, answer.json()["code"]) == (502, "dashboard_unreachable")
    here.services.dashboard.address = "http://127.0.0.1:9"
    answer = await here.client.get("/ray/")
    assert (answer.status_code, answer.json()["code"]) == (502, "dashboard_unreachable")
    assert "127.0.0.1" not in answer.text


@pytest.mark.asyncio
@pytest.mark.parametrize("cuts", [(3,), (5, 6), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (20,)])
async def test_a_secret_in_pieces_is_hidden_too(cuts: tuple[int, ...]) -> None:
    text = b"say SECRET twice SESECRET SEC"
    edges = [0, *cuts, len(text)]

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in itertools.pairwise(edges):
            yield text[start:end]

    said = b"".join([piece async for piece in without("SECRET", pieces())])
    assert said == b"say ****** twice SE****** SEC"


def test_what_is_shown_is_what_only_looks() -> None:
    for path in ("", "static/js/main.js", "api/jobs/", "api/jobs/job-1-a1/logs", "logical/actors"):
        assert SHOWN.fullmatch(path), path
