"""How much one may ask: requests of a key, wrong keys from an address, bytes of a body."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.main import FORM_BYTES
from api.service.rates import KEPT, Rates
from api.service.uploads import MAX_PART
from api.trail import address_of
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.test_every_route import routes
from tests.api.world import World, running

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@given(
    per_minute=st.integers(1, 500),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_no_more_than_a_full_bucket_and_what_flows_in(per_minute: int, pauses: list[float]) -> None:
    moment = 0.0
    rates = Rates(per_minute, lambda: moment)
    allowed = 0
    for pause in pauses:
        moment += pause
        taken = rates.take("a")
        assert taken is not None
        assert 0 <= taken.remaining <= per_minute
        allowed += taken.allowed
        if not taken.allowed:  # after the wait that was named, and not much before, there is one
            assert 0 < taken.wait <= 60 / per_minute + 1e-6
            assert int(taken.headers["retry-after"]) >= taken.wait
    assert allowed <= per_minute + moment * per_minute / 60 + 1e-6
    assert allowed >= min(len(pauses), per_minute)


def test_buckets_are_apart_and_not_kept_for_ever() -> None:
    rates = Rates(1, lambda: 0.0)
    assert [taken.allowed for taken in (rates.take("a"), rates.take("a")) if taken] == [True, False]
    assert (other := rates.take("b")) is not None and other.allowed
    for name in range(KEPT + 5):
        rates.take(str(name))
    assert len(rates._buckets) == KEPT
    assert Rates(0).take("a") is None


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("10.1.2.3", 1), "10.1.2.3"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("::ffff:10.1.2.3", 1), "10.1.2.3"),
        (None, "unknown"),
        (("testclient", 1), "testclient"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(
    client: tuple[str, int] | None, address: str
) -> None:
    assert address_of({"client": client}) == address


@pytest.mark.asyncio
@sqlite
async def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    tmp_path: Path, database_url: str
) -> None:
    settings = make_settings(tmp_path, database_url, rate_limit=5)
    async with running(settings, FakeLauncher()) as world:
        second = (await world.client.post("/v1/keys", json={})).json()["secret"]
        answers = [await world.client.get("/v1/jobs") for _ in range(6)]
        assert [answer.status_code for answer in answers[:4]] == [200] * 4
        left = [int(a.headers["x-ratelimit-remaining-requests"]) for a in answers[:4]]
        assert left == sorted(left, reverse=True) and left[0] == 3
        refused = answers[-1]
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["x-ratelimit-limit-requests"] == "5"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        assert "x-should-retry" not in refused.headers
        other = {"authorization": f"Bearer {second}"}
        assert (await world.client.get("/v1/jobs", headers=other)).status_code == 200
        assert (await world.client.get("/livez")).status_code == 200


@pytest.mark.asyncio
@sqlite
async def test_an_address_that_guesses_is_slowed_down(tmp_path: Path, database_url: str) -> None:
    settings = make_settings(tmp_path, database_url, sign_in_failures=3)
    async with running(settings, FakeLauncher()) as world:

        async def guess(address: str, path: str = "/v1/jobs", method: str = "GET") -> int:
            transport = httpx.ASGITransport(app=world.app, client=(address, 1))
            headers = {"authorization": "Bearer rlhf_wrong"}
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answer = await client.request(method, path, headers=headers, json={"events": []})
            if answer.status_code == 429:
                assert answer.json()["code"] == "rate_limited"
                assert int(answer.headers["retry-after"]) >= 1
            return answer.status_code

        assert [await guess("10.0.0.1") for _ in range(5)] == [401, 401, 401, 429, 429]
        events = "/v1/internal/jobs/job-1/events"
        assert await guess("10.0.0.1", events, "POST") == 429
        assert await guess("10.0.0.2") == 401
        # Who has a key is not locked out by a neighbour's guesses.
        transport = httpx.ASGITransport(app=world.app, client=("10.0.0.1", 1))
        headers = {"authorization": f"Bearer {world.key}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/v1/jobs", headers=headers)).status_code == 200


@pytest.mark.asyncio
@sqlite
async def test_no_route_takes_more_than_its_limit_declared_or_in_pieces(
    tmp_path: Path, database_url: str
) -> None:
    settings = make_settings(tmp_path, database_url, max_body_bytes=2048, max_file_bytes=4096)
    async with running(settings, FakeLauncher()) as world:
        schema = await world.get("/openapi.json")
        forms = {
            "/v1/files": 4096 + FORM_BYTES,
            "/v1/uploads/{upload_id}/parts": MAX_PART + FORM_BYTES,
        }
        read_in_pieces = 0
        for method, path in routes(schema):
            if method == "get":
                continue
            limit = forms.get(path, 2048)
            declares = {"content-length": str(limit + 1)}
            declared = await world.client.request(method, path, headers=declares)
            assert declared.status_code == 413, (method, path)
            if path in forms:  # written to storage while they come, and counted there too
                continue
            taken = 0

            async def pieces():  # type: ignore[no-untyped-def]
                nonlocal taken
                while taken < 4 * 2048:
                    taken += 1024
                    yield b" " * 1024

            headers = {"content-type": "application/json"}
            answer = await world.client.request(method, path, content=pieces(), headers=headers)
            assert answer.status_code < 500, (method, path, answer.text)
            # A route that takes no body does not read one.
            if "requestBody" in schema["paths"][path][method]:
                refusal = 401 if path.startswith("/v1/internal/") else 413  # a key is no driver
                assert answer.status_code == refusal, (method, path, answer.text)
                read_in_pieces += 1
            assert await counted(world) == 0
        assert read_in_pieces >= 10


@pytest.mark.asyncio
@sqlite
async def test_no_strangers_body_is_read(world: World) -> None:
    schema = await world.get("/openapi.json")
    walked = 0
    for method, path in routes(schema):
        if method == "get":
            continue
        for token in ({}, {"authorization": "Bearer rlhf_wrong"}):
            taken = 0

            async def pieces():  # type: ignore[no-untyped-def]
                nonlocal taken
                taken += 1
                yield b"[" * 1024

            headers = {"content-type": "application/json", "authorization": "", **token}
            answer = await world.client.request(method, path, content=pieces(), headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert taken == 0, (method, path)
            walked += 1
    assert walked >= 30


async def counted(world: World) -> int:
    return len((await world.get("/v1/jobs"))["data"]) + len((await world.get("/v1/files"))["data"])
