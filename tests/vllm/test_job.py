"""A whole job on real Ray whose responses vLLM draws, in an environment of its own."""

from __future__ import annotations

import pytest

from rlhf_service.events import Recovered, RoleStopped, StepCompleted
from rlhf_service.job import JobStatus
from tests.integration import conftest as integration

service, client = integration.service, integration.client
copies, collector = integration.copies, integration.collector
corpus, pipeline_spec = integration.corpus, integration.pipeline_spec

JOB_SECONDS = 1200
pytestmark = pytest.mark.timeout(JOB_SECONDS + 300)


@pytest.fixture
def spec(pipeline_spec) -> dict:
    """PPO on a small network, from scratch."""
    wanted = pipeline_spec.model_dump(mode="json")
    ppo = wanted["stages"][2] | {"steps": 4, "critic": None}
    ppo |= {"reward": {"type": "length", "target": 4}, "gate": {"max_logprob_difference": 1e-3}}
    ppo["optimizer"] |= {"learning_rate": 1e-2}
    ppo["sampling"] |= {"temperature": 0.8}
    wanted["stages"] = [ppo]
    wanted["model"] |= {"hidden_size": 64, "num_heads": 2}
    wanted["rollout"] = {"engine": {"type": "vllm", "cache_gib": 0.1, "max_length": 32}}
    wanted["recovery"]["request_timeout"] = 600
    return wanted


def test_a_ppo_job_succeeds_and_sampler_and_trainer_agree(service, client, spec):
    job = client.jobs.create(spec).id
    integration.wait_until(
        lambda: client.jobs.get(job).status.is_terminal, JOB_SECONDS, f"the end of {job}"
    )
    assert client.jobs.get(job).status is JobStatus.SUCCEEDED, client.jobs.get(job).message
    events = [stored.event for stored in client.jobs.events(job)]
    steps = [event for event in events if isinstance(event, StepCompleted)]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    # Each step was drawn by the weights that the one before had left: the trainer's log-probs of the
    # same tokens would differ by far more otherwise.
    assert max(event.report.sampler_difference_max for event in steps) < 1e-3
    assert [event.report.policy_version for event in steps] == [1, 2, 3, 4]
    assert max(event.report.approx_kl for event in steps) > 1e-3
    assert not [event for event in events if isinstance(event, RoleStopped | Recovered)]
