"""A trace goes from the request to the processes of its job."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_service.errors import RlhfError
from rlhf_service.testing_launcher import FakeLauncher
from rlhf_service.tracing.base import NoTracer
from rlhf_service.tracing.build import build_tracer
from tests.api.conftest import make_settings
from tests.api.world import running
from tests.collector import collecting

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.asyncio
async def test_a_callers_trace_goes_on_to_the_driver(tmp_path: Path) -> None:
    with collecting() as collector:
        settings = make_settings(tmp_path, "", otlp_endpoint=collector.endpoint)
        launcher = FakeLauncher()
        async with running(settings, launcher) as world:
            given = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            answer = await world.client.post("/v1/jobs", json=world.spec(), headers=given)
            assert answer.status_code == 201
            await world.turn()
        [attempt] = launcher.attempts.values()
        [span] = collector.named("POST /v1/jobs")  # sent at the latest when the server ends
        assert (span.service, span.trace, span.parent) == ("rlhf-control-plane", TRACE, PARENT)
        assert attempt.request.environment == {
            "RLHF_OTLP_ENDPOINT": collector.endpoint,
            "TRACEPARENT": f"00-{TRACE}-{span.id}-01",
        }


@pytest.mark.asyncio
async def test_without_an_endpoint_nothing_is_traced(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    async with running(make_settings(tmp_path, ""), launcher) as world:
        assert isinstance(world.services.tracer, NoTracer)
        given = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        await world.client.post("/v1/jobs", json=world.spec(), headers=given)
        await world.turn()
    [attempt] = launcher.attempts.values()
    assert attempt.request.environment == {}


def test_spans_of_another_process_hang_below_their_parent_and_tell_of_failure() -> None:
    with collecting() as collector:
        tracer = build_tracer(collector.endpoint, "rlhf-driver")
        with pytest.raises(RlhfError), tracer.span("attempt", f"00-{TRACE}-{PARENT}-01") as outer:
            with tracer.span("generate", rows=3) as inner:
                child = inner.traceparent
            raise RlhfError("it died")
        actor = build_tracer(collector.endpoint, "rlhf-rollout")
        with actor.span("actor generate", child):
            pass
        parent = outer.traceparent
        tracer.close()
        actor.close()
    [attempt], [asked], [done] = map(collector.named, ("attempt", "generate", "actor generate"))
    assert (attempt.trace, attempt.parent) == (TRACE, PARENT)
    assert parent == f"00-{TRACE}-{attempt.id}-01"
    assert (asked.trace, asked.parent, done.parent) == (TRACE, attempt.id, asked.id)
    assert {span.service for span in collector.spans} == {"rlhf-driver", "rlhf-rollout"}


def test_a_collector_that_is_away_stops_nothing() -> None:
    tracer = build_tracer("http://127.0.0.1:9", "rlhf-driver")
    with tracer.span("attempt"):
        pass
    tracer.close()
