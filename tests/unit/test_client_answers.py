"""What the clients make of answers, good and strange."""

from __future__ import annotations

import io
import json
import random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.client import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    NotSignedIn,
    Refused,
    Retry,
    ServerFault,
    TooManyRequests,
    Unreachable,
)
from rlhf_service.client.calls import jobs as calls
from rlhf_service.client.retry import NOT_DONE, RETRIED_STATUSES, Trial
from rlhf_service.reports import SupervisedReport
from tests.unit.clients import Asked, Either, says

JOB = {
    "id": "job-1",
    "name": "sums",
    "status": "running",
    "reason": None,
    "message": "",
    "progress": {"stage": "ppo", "step": 1, "steps": 9, "eta_seconds": None, "metrics": None},
    "created_at": "2026-01-01T00:00:00Z",
    "finished_at": None,
    "result": None,
    "newer_field": 5,
}


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def either(request) -> Either:
    return Either(request.param)


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES))
def test_a_submission_is_sent_again_under_its_own_key(either, status):
    refusal = httpx.Response(422, json={"detail": "bad", "error": {"param": "stages[0].steps"}})
    asked = says(httpx.Response(status), httpx.Response(status), refusal)
    with pytest.raises(ApiError) as refused:
        either.do(asked, lambda client: client.jobs.create({}))
    assert (refused.value.status, refused.value.field) == (422, "stages[0].steps")
    assert len(asked.requests) == 3
    assert len({request.headers["idempotency-key"] for request in asked.requests}) == 1


def test_two_submissions_have_two_keys_and_a_given_one_is_kept(either):
    asked = says(httpx.Response(201, json=JOB))
    either.do(asked, lambda client: client.jobs.create({}))
    either.do(asked, lambda client: client.jobs.create({}))
    either.do(asked, lambda client: client.jobs.create({}, "mine"))
    keys = [request.headers["idempotency-key"] for request in asked.requests]
    assert len(set(keys)) == 3 and keys[2] == "mine"


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES))
def test_what_may_not_be_done_twice_is_sent_again_only_when_it_was_not_begun(either, status):
    asked = says(httpx.Response(status))
    with pytest.raises(ApiError):
        either.do(asked, lambda client: client.keys.create("x"))
    assert len(asked.requests) == (3 if status in NOT_DONE else 1)


@pytest.mark.parametrize(
    ("fault", "times"), [(httpx.ConnectError("refused"), 3), (httpx.ReadError("reset"), 1)]
)
def test_a_broken_connection_repeats_a_key_only_if_nothing_was_sent(either, fault, times):
    asked = Asked([lambda: fault])
    with pytest.raises(Unreachable, match="http://service does not answer"):
        either.do(asked, lambda client: client.keys.create("x"))
    assert len(asked.requests) == times


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<html>a router's page</html>"),
        httpx.Response(200, json=["a", "list"]),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(204),
    ],
)
def test_a_stranger_at_the_address_is_named_as_one(either, reply):
    with pytest.raises(ApiError, match="check RLHF_URL"):
        either.do(says(reply), lambda client: client.jobs.list())
    with pytest.raises(ApiError, match="check RLHF_URL"):
        either.do(says(reply), lambda client: client.readiness())


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(404, text="nothing here"),
        httpx.Response(404, json=["nothing"]),
        httpx.Response(404, json={"error": "a string"}),
        httpx.Response(404, json={"error": None, "errors": "x"}),
    ],
)
def test_a_refusal_of_any_shape_keeps_its_status(either, reply):
    with pytest.raises(NotFound, match="HTTP 404") as refused:
        either.do(says(reply), lambda client: client.jobs.get("job-1"))
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, NotSignedIn),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Refused),
        (429, TooManyRequests),
        (500, ServerFault),
    ],
)
def test_errors_have_types_and_tell_what_the_service_told(either, status, kind):
    body = {
        "detail": "two fields are wrong",
        "code": "invalid_request",
        "errors": [{"field": "a", "message": "is required"}, {"field": None, "message": "no"}],
    }
    headers = {"x-request-id": "req-7", "retry-after": "0"}
    with pytest.raises(kind, match="two fields are wrong") as refused:
        either.do(says(httpx.Response(status, json=body, headers=headers)), get_job)
    error = refused.value
    assert type(error) is kind and error.code == "invalid_request"
    assert [(fault.field, fault.message) for fault in error.faults] == [
        ("a", "is required"),
        (None, "no"),
    ]
    assert (error.request_id, error.retry_after) == ("req-7", 0.0)


def get_job(client):
    return client.jobs.get("job-1")


def test_a_service_that_is_not_ready_still_says_why(either):
    body = {"ready": False, "checks": {"database": "gone", "cluster": "ok"}}
    found = either.do(says(httpx.Response(503, json=body)), lambda client: client.readiness())
    assert not found.ready and found.checks["database"] == "gone"
    with pytest.raises(ServerFault):
        either.do(says(httpx.Response(503)), lambda client: client.readiness())


def test_metrics_are_typed_and_keep_what_is_unknown(either):
    report = SupervisedReport(
        loss=2.0, tokens=3, grad_norm=1.0, learning_rate=1.0, seconds=1.0, tokens_per_second=3.0
    )
    point = {"stage": "sft", "step": 1, "steps": 9, "replayed": False, "newer_field": 5}
    point["report"] = report.model_dump()
    asked = says(httpx.Response(200, json={"data": [point]}))
    [found] = either.do(asked, lambda client: client.jobs.metrics("job-1", "sft"))
    assert found.report == report
    assert found.model_dump()["newer_field"] == 5
    [request] = asked.requests
    assert request.url.path == "/v1/jobs/job-1/metrics" and request.url.params["stage"] == "sft"


def test_lists_come_in_parts_and_whole(either):
    def part(*ids: str, more: bool) -> httpx.Response:
        data = [{**JOB, "id": name} for name in ids]
        return httpx.Response(200, json={"data": data, "has_more": more, "last_id": ids[-1]})

    replies = part("job-3", "job-2", more=True), part("job-1", more=False)
    one = either.do(says(*replies), lambda client: client.jobs.list(limit=2))
    assert [job.id for job in one] == ["job-3", "job-2"] and one.has_more and len(one) == 2
    asked = says(*replies)
    every = either.do(asked, lambda client: client.jobs.each(search="a"))
    assert [job.id for job in every] == ["job-3", "job-2", "job-1"]
    assert [request.url.params.get("after") for request in asked.requests] == [None, "job-2"]
    assert all(request.url.params["search"] == "a" for request in asked.requests)


def test_uploads_carry_the_file_and_its_name(either):
    answer = {"id": "file-1", "filename": "rows.jsonl", "bytes": 3, "created_at": 1}
    asked = says(httpx.Response(200, json=answer))
    found = either.do(asked, lambda c: c.files.upload(io.BytesIO(b'{"a": 1}\n'), "rows.jsonl"))
    body = asked.requests[0].content
    assert found.id == "file-1"
    assert b'{"a": 1}' in body and b'filename="rows.jsonl"' in body and b"fine-tune" in body


def test_an_answer_comes_piece_by_piece_and_a_fault_in_it_is_raised(either):
    def chunk(text: str) -> str:
        return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"

    whole = chunk("a") + chunk("") + chunk(" b") + "data: [DONE]\n\n"
    asked = says(httpx.Response(200, text=whole))
    assert either.do(asked, lambda c: c.models.stream_chat("m", "hi")) == ["a", " b"]
    sent = json.loads(asked.requests[0].content)
    assert sent["messages"] == [{"role": "user", "content": "hi"}] and sent["stream"]
    broken = chunk("a") + 'data: {"error": {"message": "out of memory"}}\n\n'
    with pytest.raises(ApiError, match="out of memory"):
        either.do(says(httpx.Response(200, text=broken)), lambda c: c.models.stream_chat("m", "hi"))


class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Some bytes of a file, then nothing."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self):
        yield self.content
        raise httpx.ReadError("connection reset")

    async def __aiter__(self):
        for part in iter(self):
            yield part


def test_a_download_goes_on_where_it_broke(either, tmp_path):
    asked = Asked(
        [
            lambda: httpx.Response(200, headers={"etag": '"1"'}, stream=Cut(b"abc")),
            lambda: httpx.Response(503),
            lambda: httpx.Response(206, headers={"etag": '"1"'}, content=b"defg"),
        ]
    )
    into = tmp_path / "new" / "file.bin"
    found = either.do(asked, lambda c: c.jobs.download("job-1", "model/a b.bin", into))
    assert found == into and into.read_bytes() == b"abcdefg"
    assert [r.headers.get("range") for r in asked.requests] == [None, "bytes=3-", "bytes=3-"]
    assert asked.requests[1].headers["if-range"] == '"1"'
    assert asked.requests[0].url.raw_path == b"/v1/jobs/job-1/artefacts/model/a%20b.bin"
    assert list(into.parent.iterdir()) == [into]


def test_a_file_that_changed_meanwhile_is_fetched_anew(either, tmp_path):
    asked = Asked(
        [
            lambda: httpx.Response(200, headers={"etag": '"1"'}, stream=Cut(b"abc")),
            lambda: httpx.Response(200, headers={"etag": '"2"'}, content=b"xy"),
        ]
    )
    either.do(asked, lambda c: c.jobs.download("job-1", "f", tmp_path / "f"))
    assert (tmp_path / "f").read_bytes() == b"xy"


def test_into_a_folder_a_file_comes_under_its_own_name(either, tmp_path):
    asked = says(httpx.Response(200, content=b"{}"))
    found = either.do(asked, lambda c: c.jobs.download("job-1", "model/config.json", tmp_path))
    assert found == tmp_path / "config.json" and found.read_bytes() == b"{}"
    assert list(tmp_path.iterdir()) == [found]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_no_file_is_written_outside_the_folder(either, tmp_path, path):
    listed = {"path": path, "bytes": 1, "modified_at": "2026-01-01T00:00:00Z"}
    asked = says(httpx.Response(200, json={"data": [listed], "has_more": False}))
    with pytest.raises(ApiError, match="does not lie in"):
        either.do(asked, lambda c: c.jobs.download_all("job-1", tmp_path))
    assert len(asked.requests) == 1 and list(tmp_path.iterdir()) == []


def test_odd_ids_stay_one_part_of_the_path():
    assert calls.get("../keys?x#y").path == "/v1/jobs/..%2Fkeys%3Fx%23y"


@given(st.integers(1, 60), st.floats(0.0, 500.0), st.integers(0, 2**32))
def test_pauses_grow_differ_and_heed_the_service(failures, asked, seed):
    retry = Retry(chance=random.Random(seed))
    length = min(0.25 * 2.0 ** (failures - 1), 8.0)
    assert length / 2 <= retry.pause(failures) <= length
    assert retry.pause(failures, asked) >= min(asked, retry.patience)


def test_a_trial_ends_and_waits_as_long_as_it_is_told():
    trial = Trial(Retry(tries=3), repeatable=True)
    busy = httpx.Response(503, headers={"retry-after": "7"})
    assert [trial.wait(busy) for _ in range(3)] == [7.0, 7.0, None]
    assert Trial(Retry(), repeatable=True).wait(httpx.Response(404)) is None
