"""A job that samples ahead, on real Ray: overlap, and kills."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.events import StepCompleted
from rlhf_service.job import JobStatus
from tests.integration.conftest import finish
from tests.integration.test_main_job import kill, reach, reports, weights

STEPS = 8


@pytest.fixture
def spec(pipeline_spec):
    """GRPO alone, with batches long enough to be seen under way, and an evaluation in between."""
    changed = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    stage = changed["stages"][2]
    for name in ("critic", "critic_optimizer"):
        stage.pop(name)
    stage["evaluation"] |= {"every": 3}
    stage |= {
        "type": "grpo",
        "name": "ppo",
        "reward": {"type": "regex", "pattern": "a"},
        "steps": STEPS,
        "prompts_per_step": 12,
        "samples_per_prompt": 2,
        "max_staleness": 1,
    }
    stage["sampling"]["max_new_tokens"] = 32
    changed["stages"] = [stage]
    changed["checkpoint"] = {"every": 3}
    return changed


@pytest.fixture(scope="module")
def undisturbed():
    """Filled by whoever comes first."""
    return {}


def reference_run(service, client, spec, undisturbed):
    if not undisturbed:
        job = client.jobs.create(spec).id
        assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
        undisturbed |= {
            "job": job,
            "reports": newest(client, job),
            "weights": weights(service, job),
        }
    return undisturbed


def newest(client, job):
    return {key: found[-1] for key, found in reports(client, job).items()}


def test_a_batch_is_sampled_and_scored_while_the_one_before_is_learnt(
    service, client, spec, undisturbed
):
    job = reference_run(service, client, spec, undisturbed)["job"]
    steps = {
        e.event.step: e.event.report
        for e in client.jobs.events(job)
        if isinstance(e.event, StepCompleted)
    }
    assert [steps[n].staleness_max for n in sorted(steps)] == [0] + [1] * (STEPS - 1)
    behind = [steps[number] for number in range(2, STEPS + 1)]
    assert all(r.seconds.generate == r.seconds.judge == 0 for r in behind)
    took = [r.ahead_seconds.generate + r.ahead_seconds.judge for r in behind]
    assert all(seconds > 0 for seconds in took)
    # What is begun only when a step asks for it is waited for in full, each time.
    assert sum(r.seconds.wait for r in behind) < sum(took)


def test_kills_change_nothing(service, client, spec, undisturbed):
    """A pause leads through the same checkpoint as a learner's end: test_main_job has one."""
    reference = reference_run(service, client, spec, undisturbed)
    job = client.jobs.create(spec).id
    reach(service, job, 2)
    kill(service, client, job, "rollout actor")
    reach(service, job, 4)
    kill(service, client, job, "learner rank")
    assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    assert newest(client, job) == reference["reports"]
    final = weights(service, job)
    assert all(torch.equal(final[name], tensor) for name, tensor in reference["weights"].items())
