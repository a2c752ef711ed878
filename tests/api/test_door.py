"""Who gets in, and what every answer carries."""

from __future__ import annotations

import stat

import httpx
import pytest
from sqlalchemy import select

from api.envelope import SECURITY_HEADERS
from api.main import create_app
from api.store.tables import KeyRow
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import World, running

pytestmark = pytest.mark.asyncio

OPEN = {"/livez", "/readyz"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_route_but_the_open_ones_asks_for_a_key(world: World) -> None:
    paths = (await world.get("/openapi.json"))["paths"]
    closed = [(m, p) for p, methods in paths.items() for m in methods if p not in OPEN]
    assert len(closed) >= 15
    for method, path in closed:
        for headers in (
            {},
            {"authorization": "Bearer rlhf_wrong"},
            {"authorization": "Basic eA=="},
        ):
            path_now = path.replace("{job_id}", "j").replace("{model_id}", "m")
            transport = world.client._transport
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as nobody:
                answer = await nobody.request(
                    method, path_now, headers=headers, json={"events": []}
                )
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "unauthenticated"
    for path in ("/livez", "/readyz", "/"):
        answer = await world.client.get(path, headers={"authorization": ""})
        assert answer.status_code in (200, 503), path  # a busy machine is not ready


async def test_keys_are_made_shown_once_and_revoked(world: World) -> None:
    made = (await world.client.post("/v1/keys", json={"name": "ci"})).json()
    assert made["secret"].startswith("rlhf_")
    listed = (await world.get("/v1/keys"))["data"]
    assert [key["name"] for key in listed] == ["first", "ci"]
    assert all("secret" not in key and "sha256" not in key for key in listed)
    mine = {"authorization": f"Bearer {made['secret']}"}
    assert (await world.client.get("/v1/jobs", headers=mine)).status_code == 200
    assert (await world.client.delete(f"/v1/keys/{made['id']}")).json()["revoked_at"]
    assert (await world.client.get("/v1/jobs", headers=mine)).status_code == 401
    last = await world.client.delete(f"/v1/keys/{listed[0]['id']}")
    assert (last.status_code, last.headers["x-should-retry"]) == (409, "false")


async def test_no_secret_is_stored_in_the_clear(world: World) -> None:
    async with world.services.database.read() as session:
        row = (await session.scalars(select(KeyRow))).one()
    stored = [str(value) for value in vars(row).values()]
    assert not any(world.key in value for value in stored)
    for name in ("secret", "first-api-key"):
        mode = stat.S_IMODE((world.settings.control / name).stat().st_mode)
        assert mode == 0o600


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_given_first_key_is_taken(tmp_path, database_url: str) -> None:  # type: ignore[no-untyped-def]
    settings = make_settings(tmp_path, database_url, bootstrap_key="rlhf_given-by-the-operator")
    async with running(settings, FakeLauncher(), "rlhf_given-by-the-operator") as world:
        assert (await world.client.get("/v1/jobs")).status_code == 200
        assert not (settings.control / "first-api-key").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_answers_carry_an_id_and_security_headers(world: World) -> None:
    answer = await world.client.get("/v1/jobs", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    odd = await world.client.get("/v1/jobs/none", headers={"x-request-id": "a b<script>"})
    assert odd.headers["x-request-id"].startswith("req-")
    assert odd.json()["request_id"] == odd.headers["x-request-id"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_answer_has_the_security_headers(world: World) -> None:
    requests = (
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/none"),
        ("GET", "/nowhere"),
        ("PATCH", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/"),
        ("GET", "/web/app.js"),
        ("GET", "/web/report.html"),
        ("GET", "/openapi.json"),
        ("GET", "/livez"),
        ("OPTIONS", "/v1/jobs"),
    )
    for method, path in requests:
        for scheme in ("http", "https"):
            url = f"{scheme}://test{path}"
            answer = await world.client.request(
                method, url, headers={"origin": "https://evil.test"}
            )
            for name in SECURITY_HEADERS:
                assert answer.headers.get(name), (method, path, name)
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert ("strict-transport-security" in answer.headers) == (scheme == "https")
            assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_pages_of_allowed_origins_only_may_call(tmp_path, database_url: str) -> None:  # type: ignore[no-untyped-def]
    origin = "https://app.example.org"
    settings = make_settings(tmp_path, database_url, cors_origins=origin)
    async with running(settings, FakeLauncher()) as world:
        asks = {"origin": origin, "access-control-request-method": "POST"}
        asks["access-control-request-headers"] = "authorization,content-type"
        before = await world.client.options("/v1/jobs", headers=asks)
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in before.headers
        answer = await world.client.get("/v1/jobs", headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        for other in ("https://evil.test", "null", "https://app.example.org.evil.test"):
            answer = await world.client.get("/v1/jobs", headers={"origin": other})
            assert "access-control-allow-origin" not in answer.headers
            refused = await world.client.options("/v1/jobs", headers={**asks, "origin": other})
            assert "access-control-allow-origin" not in refused.headers
    for odd in ("*", "app.example.org", "https://app.example.org/path"):
        with pytest.raises(ValueError, match="is no origin"):
            make_settings(tmp_path, database_url, cors_origins=odd)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_large_bodies_are_refused_declared_or_not(world: World) -> None:
    size = world.settings.max_body_bytes + 1
    answer = await world.client.post("/v1/jobs", content=b"x" * size)
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(size // 65536 + 1):
            yield b" " * 65536

    answer = await world.client.post("/v1/jobs", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_fault_of_ours_is_told_without_its_inside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(type(world.services.jobs), "get", lambda self, caller, job_id: broken())
    answer = await world.client.get("/v1/jobs/any")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "hunter2" not in answer.text
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b""])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_body_that_is_no_job_is_refused(world: World, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await world.client.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
async def test_readiness_tells_what_is_wrong(tmp_path, empty_database_url: str) -> None:  # type: ignore[no-untyped-def]
    settings = make_settings(tmp_path, empty_database_url, migrate=False)
    app = create_app(settings, FakeLauncher())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "api.store.migrate" in answer.json()["checks"]["database"]
    await app.state.services.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_page_and_its_files_are_served(world: World) -> None:
    page = await world.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("app.js", "chart.js", "stream.js", "style.css"):
        assert (await world.client.get(f"/web/{name}")).status_code == 200
