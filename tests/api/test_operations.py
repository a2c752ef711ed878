"""What operators see: figures, log lines, and whether a replica can do its work."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.configuration import PAGE, page
from api.observe.context import about
from api.observe.lag import TICK, LoopLag
from api.observe.logs import Context, log_config
from api.settings import Settings
from rlhf_service.events import Log
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import World, running

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scraped(world: World) -> Samples:
    answer = await world.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.asyncio
async def test_figures_follow_what_happens(world: World) -> None:
    world.services.scrape._asked = -1e9
    _, driver = await world.started()
    waits = (await world.submit(resources={"learner": {"cpus_per_worker": 2}}))["id"]
    await driver.say(Log(message="a"), Log(message="b"))
    again = driver.record(Log(message="c"))
    await driver.post(again)
    await driver.post(again)
    for path in ("/v1/jobs/job-1", "/v1/jobs/job-2", "/nowhere/at/all", "/v1/nothing/7"):
        assert (await world.client.get(path)).status_code == 404
    found = await scraped(world)
    assert found["rlhf_jobs", (("status", "running"),)] == 1
    assert found["rlhf_jobs", (("status", "queued"),)] == 1, waits
    assert found["rlhf_jobs", (("status", "failed"),)] == 0
    assert found["rlhf_queue_oldest_age_seconds", ()] > 0
    assert found["rlhf_events_ingested_total", (("via", "post"),)] == 5
    assert found["rlhf_events_duplicate_total", (("via", "post"),)] == 1
    assert found["rlhf_leases_total", (("outcome", "taken"),)] >= 1
    assert found["rlhf_event_streams", ()] == 0
    route = ("route", "/v1/jobs/{job_id}")
    labels = tuple(sorted((("method", "GET"), route, ("status", "404"))))
    assert found["rlhf_http_requests_total", labels] == 2
    seconds = tuple(sorted((("method", "GET"), route)))
    assert found["rlhf_http_request_duration_seconds_count", seconds] >= 2
    routes = {dict(labels).get("route") for _, labels in found}
    assert "unmatched" in routes and not any("job-" in (route or "") for route in routes)


@pytest.mark.asyncio
async def test_only_operators_and_the_scraper_see_figures(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", metrics_token="scrape-me")
    async with running(settings, FakeLauncher()) as world:
        bare = await world.client.get("/metrics", headers={"authorization": ""})
        assert bare.status_code == 401
        own = {"authorization": "Bearer scrape-me"}
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        open_metrics = await world.client.get("/metrics", headers=own | accept)
        assert open_metrics.status_code == 200 and open_metrics.text.endswith("# EOF\n")
        request = {"name": "theirs", "tenant": "others", "scopes": ["admin"]}
        theirs = (await world.client.post("/v1/keys", json=request)).json()["secret"]
        other = {"authorization": f"Bearer {theirs}"}
        assert (await world.client.get("/metrics", headers=other)).status_code == 403
        assert (await world.client.get("/v1/jobs", headers=own)).status_code == 401


@pytest.mark.asyncio
async def test_turns_are_counted_and_a_stuck_loop_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, "", reconcile=True, reconcile_interval=0.02)
    async with running(settings, FakeLauncher()) as world, asyncio.timeout(60):
        while (await scraped(world)).get(
            ("rlhf_reconcile_turns_total", (("outcome", "done"),))
        ) is None:
            await asyncio.sleep(0.02)
        assert (await world.client.get("/readyz")).status_code == 200
        reconciler, hang = world.services.reconciler, asyncio.Event()

        async def hangs() -> None:
            hang.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(reconciler, "turn", hangs)
        await hang.wait()
        reconciler.turned_at = time.monotonic() - 31
        answer = await world.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["reconciler"] == "no turn for 31 s"
        assert (await world.client.get("/livez")).status_code == 200
        reconciler.turned_at = time.monotonic() - 301
        answer = await world.client.get("/livez")
        assert (answer.status_code, answer.json()["status"]) == (
            503, "the background loop is stuck for 301 s"
        )  # fmt: skip


@pytest.mark.asyncio
async def test_a_turn_that_fails_is_no_stuck_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, "", reconcile=True, reconcile_interval=0.02)
    async with running(settings, FakeLauncher()) as world, asyncio.timeout(60):

        async def fails() -> None:
            raise OSError("the database is away")

        monkeypatch.setattr(world.services.reconciler, "turn", fails)
        failed = ("rlhf_reconcile_turns_total", (("outcome", "failed"),))
        while (await scraped(world)).get(failed, 0) < 2:
            await asyncio.sleep(0.02)
        assert (await world.get("/readyz"))["checks"]["reconciler"] == "ok"


@pytest.mark.asyncio
async def test_a_blocked_event_loop_is_told_apart(world: World) -> None:
    lag: LoopLag = world.services.lag
    async with asyncio.timeout(60):
        while not lag._late:
            await asyncio.sleep(0.05)
        time.sleep(TICK + 0.3)  # what a handler that blocks does
        assert lag.worst() >= 0.25
        await asyncio.sleep(0)
        lag._late.append((time.monotonic(), 6.0))
        answer = await world.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["event_loop"] == "lagged 6.0 s of late"


@pytest.mark.asyncio
async def test_an_old_schema_and_a_database_that_is_away_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.services.database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = await world.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "run: python -m api.store.migrate"

    async def away(database: object) -> bool:
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr("api.service.health.is_current", away)
    checks = (await world.client.get("/readyz")).json()["checks"]
    assert checks["database"] == "ConnectionRefusedError: nobody listens"


@pytest.mark.asyncio
async def test_a_server_that_stops_is_not_ready(world: World) -> None:
    world.services.drain()
    answer = await world.client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["server"]) == (503, "stopping")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as JSON at level `debug`."""
    out, logger = io.StringIO(), logging.getLogger("rlhf")
    handler = logging.StreamHandler(out)
    config = log_config(Settings(log_format="json"))
    handler.setFormatter(config["formatters"]["json"]["()"]())
    handler.addFilter(Context())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield out
    logger.removeHandler(handler)
    logger.setLevel(before)


def said(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.asyncio
async def test_lines_name_their_request_and_job(world: World, lines: io.StringIO) -> None:
    job_id = (await world.submit())["id"]
    headers = {"x-request-id": "mine-7"}
    answer = await world.client.get(f"/v1/jobs/{job_id}", headers=headers)
    assert answer.headers["x-request-id"] == "mine-7"
    odd = await world.client.get("/v1/jobs", headers={"x-request-id": 'a b"c'})
    assert odd.headers["x-request-id"].startswith("req-")
    [line] = [line for line in said(lines) if line.get("request_id") == "mine-7"]
    assert (line["logger"], line["level"], line["job_id"]) == ("rlhf.access", "info", job_id)
    assert (line["route"], line["status"]) == ("/v1/jobs/{job_id}", 200)
    with about("job-9"):
        logging.getLogger("rlhf.reconcile").warning(
            "odd: %s", {"a": 1}, extra={"_mark_of_a_library": 1}
        )
    assert said(lines)[-1] | {"time": ""} == {
        "time": "", "level": "warning", "logger": "rlhf.reconcile", "message": "odd: {'a': 1}",
        "job_id": "job-9",
    }  # fmt: skip


def test_exceptions_stay_one_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("rlhf.api").exception("failed")
    [line] = said(lines)
    assert "ValueError: two\nlines" in str(line["exception"])


def test_tracing_is_not_even_imported_by_default() -> None:
    code = (
        "import api.main, sys; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m api.configuration"
    assert all(field.description for field in Settings.model_fields.values())
