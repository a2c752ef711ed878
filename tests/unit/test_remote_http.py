"""The http reward against a service that misbehaves."""

from __future__ import annotations

import pytest

from rlhf_service.errors import SpecError
from rlhf_service.records import Score, ScoreFailure
from rlhf_service.reward.operator import Operator
from rlhf_service.reward.remote import caller
from rlhf_service.reward.remote.http import HttpScorer
from rlhf_service.spec.judges import HttpReward, RemoteCalls
from tests.unit.scoring_server import ScoringServer, scores
from tests.unit.test_reward_kinds import rollout

LAN = Operator(private_urls=True)


def lengths(body):
    return scores([float(len(item["response"])) for item in body["items"]])


def fixed(status=200, headers=None, data=b""):
    return lambda body: (status, headers or {}, data)


def run(server, answers=("a",), operator=LAN, *, calls=None, path="/score", **fields):
    quick = {"timeout": 2.0, "deadline": 10.0, "retries": 2} | (calls or {})
    with server.running() as base:
        spec = HttpReward(url=base + path, calls=RemoteCalls(**quick), **fields)
        return HttpScorer(spec, operator).score([rollout(a, answer="x") for a in answers])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Back off for milliseconds, and remember what was asked."""
    waits = []

    def backoff(attempt):
        waits.append(attempt)
        return 0.001

    monkeypatch.setattr(caller, "backoff", backoff)
    return waits


def kinds(outcomes):
    return [o.kind if isinstance(o, ScoreFailure) else o.value for o in outcomes]


def test_batches_keep_their_order():
    server = ScoringServer(lengths)
    answers = ["x" * n for n in range(11)]
    outcomes = run(server, answers, batch_size=3)
    assert kinds(outcomes) == [float(n) for n in range(11)]
    assert sorted(len(request["items"]) for request in server.requests) == [2, 3, 3, 3]
    assert server.requests[0]["items"][0] == {
        "prompt": "q",
        "response": server.requests[0]["items"][0]["response"],
        "item": {"answer": "x"},
    }


def test_no_rollouts_no_request():
    server = ScoringServer(lengths)
    assert run(server, []) == []
    assert server.requests == []


def test_concurrency_is_used_and_bounded():
    server = ScoringServer(lambda body: (server.stop.wait(0.1), lengths(body))[1])
    run(server, ["x"] * 9, batch_size=1, calls={"max_concurrency": 3})
    assert server.most_at_once == 3


def test_components_and_item_errors():
    entries = [
        {"score": 2, "components": {"tone": 0.5}},
        {"error": "no such language"},
        3,
        {"score": None},
        {"score": 1, "components": {"tone": "high"}},
        {"score": 1, "extra": 1},
        True,
        "4",
    ]
    outcomes = run(ScoringServer(lambda _: scores(entries)), "abcdefgh")
    assert outcomes[0] == Score(value=2.0, components={"http": 2.0, "http.tone": 0.5})
    assert outcomes[1] == ScoreFailure(kind="refused", message="no such language")
    assert kinds(outcomes[2:]) == [3.0, *["bad_answer"] * 5]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b'{"scores": [1.0, 2.0]}', "bad_answer"),
        (b'{"scores": []}', "bad_answer"),
        (b'{"scores": 1}', "bad_answer"),
        (b"[1.0]", "bad_answer"),
        (b"<html>", "bad_answer"),
        (b"", "bad_answer"),
        (b"\xff\xfe\x00", "bad_answer"),
        (b"[" * 100_000, "bad_answer"),
        (b'{"scores": [NaN]}', "not_finite"),
        (b'{"scores": [-Infinity]}', "not_finite"),
        (b'{"scores": [1e999]}', "not_finite"),
        (b'{"scores": [1' + b"0" * 400 + b"]}", "not_finite"),
        (b'{"scores": [{"score": 1, "components": {"a": NaN}}]}', "not_finite"),
    ],
)
def test_wrong_answers_are_typed_failures(data, wanted):
    server = ScoringServer(fixed(data=data))
    assert kinds(run(server)) == [wanted]
    assert len(server.requests) == 1


def test_a_failed_batch_does_not_touch_the_others():
    server = ScoringServer(fixed(400, data=b"bad"), lengths)
    outcomes = run(server, ["x"] * 4, batch_size=2, calls={"max_concurrency": 1})
    assert kinds(outcomes) == ["refused", "refused", 1.0, 1.0]


def test_a_silent_service_times_out_and_is_not_asked_again():
    server = ScoringServer(lambda body: (server.stop.wait(20), lengths(body))[1])
    [outcome] = run(server, calls={"timeout": 0.2})
    assert outcome.kind == "timeout"
    assert len(server.requests) == 1


def test_a_body_that_never_ends_times_out():
    server = ScoringServer(fixed(headers={"Content-Length": "50"}, data=b"{"))
    assert kinds(run(server, calls={"timeout": 0.2})) == ["timeout"]


def test_the_deadline_bounds_the_whole_batch():
    server = ScoringServer(lengths, lambda body: (server.stop.wait(20), lengths(body))[1])
    calls = {"timeout": 15, "deadline": 0.4, "max_concurrency": 1}
    outcomes = run(server, ["x"] * 3, batch_size=1, calls=calls)
    assert kinds(outcomes) == [1.0, "timeout", "timeout"]
    assert "deadline" in outcomes[2].message


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors_are_retried(status, impatient):
    server = ScoringServer(fixed(status), fixed(status), lengths)
    assert kinds(run(server)) == [1.0]
    assert impatient == [0, 1]


def test_retries_end():
    server = ScoringServer(fixed(500))
    [outcome] = run(server)
    assert outcome.kind == "unavailable"
    assert "answers 500, attempt 3" in outcome.message
    assert len(server.requests) == 3


def test_retry_after_is_honoured(impatient):
    server = ScoringServer(fixed(429, {"Retry-After": "0"}), lengths)
    assert kinds(run(server)) == [1.0]
    server = ScoringServer(fixed(429, {"Retry-After": "3600"}), lengths)
    [outcome] = run(server)
    assert outcome.kind == "unavailable"
    assert "wait 3600 s" in outcome.message
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_client_errors_are_not_retried_and_hide_secrets(status):
    server = ScoringServer(lambda _: (status, {}, b"bad key: hunter2\n"))
    operator = Operator(
        private_urls=True,
        secrets=frozenset({"TOKEN@127.0.0.1"}),
        environment={"TOKEN": "Bearer hunter2"},
    )
    [outcome] = run(server, operator=operator, headers_from_env={"Authorization": "TOKEN"})
    assert (outcome.kind, len(server.requests)) == ("refused", 1)
    assert outcome.message == f"127.0.0.1 answers {status}: bad key: ***"
    assert server.headers[0]["Authorization"] == "Bearer hunter2"


def test_redirects_are_not_followed():
    server = ScoringServer(fixed(307, {"Location": "/elsewhere"}), lengths)
    assert kinds(run(server)) == ["refused"]
    assert server.paths == ["/score"]


def test_a_huge_answer_is_cut_off():
    data = b'{"scores": [' + b" " * 3_000_000 + b"1]}"
    [outcome] = run(ScoringServer(fixed(data=data)), calls={"max_response_bytes": 100_000})
    assert (outcome.kind, outcome.message.endswith("more than 100000 bytes")) == (
        "bad_answer",
        True,
    )


def test_a_compressed_answer_is_not_unpacked():
    server = ScoringServer(fixed(headers={"Content-Encoding": "gzip"}, data=b"\x1f\x8b"))
    assert kinds(run(server)) == ["bad_answer"]


def test_nothing_listens():
    with ScoringServer(lengths).running() as base:
        pass
    spec = HttpReward(url=base, calls=RemoteCalls(timeout=1, retries=1))
    [outcome] = HttpScorer(spec, LAN).score([rollout("a")])
    assert outcome.kind == "unavailable"


def test_the_circuit_opens_and_closes():
    server = ScoringServer(fixed(500), fixed(500), fixed(500), lengths)
    with server.running() as base:
        calls = RemoteCalls(retries=0, breaker_failures=2, breaker_seconds=0.3, max_concurrency=1)
        scorer = HttpScorer(HttpReward(url=base, batch_size=1, calls=calls), LAN)
        outcomes = scorer.score([rollout("a")] * 5)
        assert kinds(outcomes) == ["unavailable"] * 5
        assert "circuit" in outcomes[4].message
        assert len(server.requests) == 2
        server.stop.wait(0.35)
        assert kinds(scorer.score([rollout("a")] * 2)) == ["unavailable"] * 2  # the trial fails
        assert len(server.requests) == 3
        server.stop.wait(0.35)
        assert kinds(scorer.score([rollout("a")] * 2)) == [1.0, 1.0]


def test_private_addresses_need_the_operator():
    with pytest.raises(SpecError, match=r"url: 127.0.0.1 is at .*RLHF_ALLOW_PRIVATE_URLS"):
        HttpScorer(HttpReward(url="http://127.0.0.1:9/"), Operator())


def test_a_name_with_a_private_address_is_refused_at_the_call():
    server = ScoringServer(lengths)
    with server.running() as base:
        spec = HttpReward(url=base.replace("127.0.0.1", "judge.example"))
        scorer = HttpScorer(spec, Operator(), resolver=lambda host, port: ["127.0.0.1"])
        [outcome] = scorer.score([rollout("a")])
    assert (outcome.kind, server.requests) == ("refused", [])


@pytest.mark.parametrize(
    ("secrets", "environment", "said"),
    [
        (set(), {"TOKEN": "x"}, "RLHF_JOB_SECRETS"),
        ({"TOKEN@other.example"}, {"TOKEN": "x"}, "RLHF_JOB_SECRETS"),
        ({"TOKEN"}, {}, "unset"),
        ({"TOKEN"}, {"TOKEN": "a\r\nHost: b"}, "no header value"),
    ],
)
def test_only_listed_secrets_are_sent(secrets, environment, said):
    operator = Operator(secrets=frozenset(secrets), environment=environment)
    spec = HttpReward(url="https://judge.example", headers_from_env={"Authorization": "TOKEN"})
    with pytest.raises(SpecError, match=said):
        HttpScorer(spec, operator)
