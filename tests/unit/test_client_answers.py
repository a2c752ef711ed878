"""What the client makes of answers, good and strange."""

from __future__ import annotations

import httpx
import pytest

from rlhf_service import client as module
from rlhf_service.client import ApiError, Client
from rlhf_service.reports import SupervisedReport


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0))


def client_of(*replies: httpx.Response) -> tuple[Client, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return replies[min(len(asked), len(replies)) - 1]

    client = Client("http://service", "key")
    client._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    return client, asked


@pytest.mark.parametrize("status", sorted(module.RETRIED_STATUSES))
def test_a_submission_is_sent_again_under_its_own_key(status):
    refusal = httpx.Response(422, json={"detail": "bad", "error": {"param": "stages[0].steps"}})
    client, asked = client_of(httpx.Response(status), httpx.Response(status), refusal)
    with pytest.raises(ApiError) as refused:
        client.jobs.create({})
    assert (refused.value.status, refused.value.field) == (422, "stages[0].steps")
    assert len(asked) == 3
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    client.close()


def test_two_submissions_have_two_keys():
    client, asked = client_of(httpx.Response(400, json={"detail": "bad"}))
    for _ in range(2):
        with pytest.raises(ApiError):
            client.jobs.create({})
    assert len({request.headers["idempotency-key"] for request in asked}) == 2


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<html>a router's page</html>"),
        httpx.Response(200, json=["a", "list"]),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(204),
    ],
)
def test_a_stranger_at_the_address_is_named_as_one(reply):
    client, _ = client_of(reply)
    with pytest.raises(ApiError, match="check RLHF_URL"):
        client.jobs.list()


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(404, text="nothing here"),
        httpx.Response(404, json=["nothing"]),
        httpx.Response(404, json={"error": "a string"}),
        httpx.Response(404, json={"error": None}),
    ],
)
def test_a_refusal_of_any_shape_keeps_its_status(reply):
    client, _ = client_of(reply)
    with pytest.raises(ApiError, match="HTTP 404") as refused:
        client.jobs.get("job-1")
    assert refused.value.status == 404


def test_metrics_are_typed_and_keep_what_is_unknown():
    report = SupervisedReport(
        loss=2.0, tokens=3, grad_norm=1.0, learning_rate=1.0, seconds=1.0, tokens_per_second=3.0
    )
    point = {"stage": "sft", "step": 1, "steps": 9, "replayed": False, "newer_field": 5}
    point["report"] = report.model_dump()
    client, asked = client_of(httpx.Response(200, json={"data": [point]}))
    [found] = client.jobs.metrics("job-1", "sft")
    assert found.report == report
    assert found.model_dump()["newer_field"] == 5
    assert asked[0].url.path == "/v1/jobs/job-1/metrics" and asked[0].url.params["stage"] == "sft"
