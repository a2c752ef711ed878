"""A whole job on real Ray whose responses vLLM draws, in an environment of its own."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_service.events import Recovered, RoleStopped, StepCompleted
from rlhf_service.job import JobStatus
from tests.integration import conftest as integration

service, client = integration.service, integration.client
corpus, pipeline_spec = integration.corpus, integration.pipeline_spec
pytestmark = pytest.mark.timeout(900)


def drawn_by_vllm(spec: dict[str, Any], **ppo: Any) -> dict[str, Any]:
    spec["model"] |= {"hidden_size": 64, "num_heads": 2}
    spec["rollout"] = {"engine": {"type": "vllm", "cache_gib": 0.1, "max_length": 32}}
    spec["recovery"] = {"request_timeout": 600}
    spec["stages"][2] |= ppo
    return spec


def test_a_ppo_job_succeeds_and_sampler_and_trainer_agree(service, client, pipeline_spec):
    spec = drawn_by_vllm(
        pipeline_spec.model_dump(mode="json"),
        steps=4,
        gate={"max_logprob_difference": 1e-3},
    )
    spec["stages"][2]["sampling"] |= {"temperature": 0.8}
    job = client.jobs.create(spec).id
    assert integration.finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    events = [stored.event for stored in client.jobs.events(job)]
    steps = [e for e in events if isinstance(e, StepCompleted) and e.stage == "ppo"]
    assert [e.step for e in steps] == [1, 2, 3, 4]
    # Weights changed in every step, and what was drawn next was drawn by them.
    assert max(e.report.sampler_difference_max for e in steps) < 1e-3
    assert len({e.report.policy_version for e in steps}) == 4
    assert not [e for e in events if isinstance(e, RoleStopped | Recovered)]
