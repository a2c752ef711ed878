"""One trace from the request through the driver and the learner to the actors, on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.embedded import Embedded
from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.benchmarks.start_up import tiny_job
from tests.collector import collecting
from tests.integration.conftest import finish


def test_a_job_is_one_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("RLHF_OTLP_ENDPOINT", collector.endpoint)
        with (
            Embedded(tmp_path / "service", 0, (tmp_path,)) as service,
            Client(service.url, service.api_key) as client,
        ):
            assert finish(client, client.jobs.create(tiny_job(tmp_path)).id) is JobStatus.SUCCEEDED
    [request] = collector.named("POST /v1/jobs")
    mine = {span.id: span for span in collector.spans if span.trace == request.trace}
    for name, service_name, parent in (
        ("attempt", "rlhf-driver", "POST /v1/jobs"),
        ("learner", "rlhf-learner", "attempt"),
        ("generate", "rlhf-learner", "learner"),
        ("actor generate", "rlhf-rollout", "generate"),
        ("actor score", "rlhf-reward", "score"),
    ):
        spans = [span for span in mine.values() if span.name == name]
        assert spans, f"no span {name!r} in the trace"
        assert {span.service for span in spans} == {service_name}
        assert {mine[span.parent].name for span in spans} == {parent}
