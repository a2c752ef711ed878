"""Rewards that leave the reward actor, in a real job: a service, a judge, Python in a sandbox."""

from __future__ import annotations

import json
import shutil

import pytest

from rlhf_service.events import SamplesDrawn
from rlhf_service.job import JobStatus
from tests.integration.conftest import finish
from tests.unit.scoring_server import Answer, ScoringServer, scores

GRADE = """
def grade(sample, item):
    return float(len(sample["output_text"].split()))
"""


def by_length(body: dict) -> Answer:
    """The service's score: characters of the response."""
    return scores([float(len(item["response"])) for item in body["items"]])


def busy(body: dict) -> Answer:
    return 503, {}, b"later"


def judged(body: dict) -> Answer:
    """The judge's: 1 for a response with an `o`."""
    asked = body["messages"][0]["content"]
    said = json.dumps({"score": float("o" in asked.removeprefix("Rate: "))})
    return 200, {}, json.dumps({"choices": [{"message": {"content": said}}]}).encode()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_job_learns_from_a_service_a_judge_and_sandboxed_python(client, pipeline_spec):
    service, judge = ScoringServer(busy, by_length), ScoringServer(judged)
    with service.running() as service_url, judge.running() as judge_url:
        spec = pipeline_spec.model_dump(mode="json")
        ppo = spec["stages"][2]
        ppo["reward"] = {
            "type": "blend",
            "rewards": [
                {"type": "http", "url": service_url},
                {
                    "type": "score_model",
                    "model": "judge-1",
                    "base_url": f"{judge_url}/v1",
                    "input": [{"role": "user", "content": "Rate: {{sample.output_text}}"}],
                },
                {"type": "python", "source": GRADE},
            ],
            "weights": [0.1, 2.0, 1.0],
        }
        ppo |= {"critic": None, "sample_every": 1}
        spec["stages"] = [ppo]
        job = client.jobs.create(spec).id
        assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    drawn = [
        sample
        for stored in client.jobs.events(job)
        if isinstance(stored.event, SamplesDrawn)
        for sample in stored.event.samples
    ]
    assert drawn
    for sample in drawn:
        expected = {
            "http": float(len(sample.response)),
            "score_model": float("o" in sample.response),
            "python": float(len(sample.response.split())),
        }
        parts = {name: sample.components[name] for name in expected}
        assert parts == pytest.approx(expected)
        total = 0.1 * parts["http"] + 2 * parts["score_model"] + parts["python"]
        assert sample.score == pytest.approx(total)
    assert len(service.requests) > 1, "the refused request was not sent again"
