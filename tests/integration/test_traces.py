"""One trace from the request through the driver and the learner to the actors, on a real cluster."""

from __future__ import annotations

from pathlib import Path

from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.benchmarks.start_up import tiny_job
from tests.collector import Collector
from tests.integration.conftest import finish, wait_until


def a_job(client: Client, folder: Path) -> str:
    """One with PPO that nothing disturbed; a new one if no test has had such a job yet."""
    for listed in client.jobs.list(status=JobStatus.SUCCEEDED):
        job = client.jobs.get(listed.id)
        stages = [stage["type"] for stage in job.spec["stages"]]
        if len(job.model_dump()["attempts"]) == 1 and "ppo" in stages:
            return job.id
    made = client.jobs.create(tiny_job(folder)).id
    assert finish(client, made) is JobStatus.SUCCEEDED
    return made


def test_a_job_is_one_trace(client: Client, collector: Collector, tmp_path: Path) -> None:
    job = a_job(client, tmp_path)

    def attempts():
        return [s for s in collector.named("attempt") if s.about.get("rlhf.job") == job]

    wait_until(lambda: bool(attempts()), 60, "the driver's span")
    [attempt] = attempts()
    mine = {span.id: span for span in collector.spans if span.trace == attempt.trace}
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
