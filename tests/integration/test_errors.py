"""What goes wrong on a real cluster ends in a typed reason and a sentence, never in a hang."""

from __future__ import annotations

import pytest

from rlhf_service.client import ApiError
from rlhf_service.job import JobStatus, StopReason
from tests.integration.conftest import finish


@pytest.fixture
def plain(pipeline_spec):
    return pipeline_spec.model_dump(mode="json")


def unscorable(spec):
    """No response has a score: the formula divides by zero."""
    reward = {
        "type": "multi",
        "graders": {"any": {"type": "regex", "pattern": "."}},
        "calculate_output": "1 / (any - any)",
    }
    ppo = spec["stages"][2]
    ppo |= {"reward": reward, "critic": None}
    spec["stages"] = [ppo]


def test_a_run_that_cannot_go_on_fails_for_a_typed_reason(client, plain):
    """Other reasons, within a process: tests/unit/test_run_errors.py."""
    unscorable(plain)
    job = client.jobs.create(plain).id
    assert finish(client, job) is JobStatus.FAILED
    ended = client.jobs.get(job)
    assert ended.reason is StopReason.REWARD_FAILED, ended.message
    assert "mend the reward" in ended.message
    assert "Traceback" not in ended.message
    assert len(ended.model_dump()["attempts"]) == 1


REFUSED = [
    (lambda s: s.update(colour="red"), 422, "colour"),
    (lambda s: s["stages"][0].update(steps="many"), 422, "stages[0].sft.steps"),
    (
        lambda s: s["stages"][0]["data"].update(path="/tmp/no-such.jsonl"),
        400,
        "stages[0].data.path",
    ),
    (lambda s: s["stages"][0]["data"].update(path="/etc/passwd"), 400, "stages[0].data.path"),
    (lambda s: s.update(model={"type": "folder", "path": "/tmp"}), 400, "model.path"),
    (
        lambda s: s["stages"][2].update(
            reward={"type": "string_check", "reference": "{{item.answer}}"}
        ),
        400,
        "stages[2].reward.reference",
    ),
    (
        lambda s: s["resources"]["learner"].update(num_workers=4, cpus_per_worker=64),
        400,
        "resources.learner.num_workers",
    ),
]


@pytest.mark.parametrize(("change", "status", "field"), REFUSED)
def test_what_can_be_known_at_submission_is_refused_then(client, plain, change, status, field):
    change(plain)
    before = [job.id for job in client.jobs.list()]
    with pytest.raises(ApiError) as refused:
        client.jobs.create(plain)
    assert refused.value.status == status, str(refused.value)
    assert refused.value.field is not None
    assert refused.value.field.split(".")[-1] == field.split(".")[-1], refused.value.field
    assert [job.id for job in client.jobs.list()] == before
