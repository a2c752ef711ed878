"""The score_model reward against an endpoint of chat completions."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from rlhf_service.errors import SpecError
from rlhf_service.records import ScoreFailure
from rlhf_service.reward.operator import Operator
from rlhf_service.reward.remote import caller
from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.reward.remote.question import score_in
from rlhf_service.reward.remote.score_model import ScoreModel
from rlhf_service.spec.judges import LabelModelReward, ScoreModelReward
from tests.unit.scoring_server import ScoringServer
from tests.unit.test_reward_kinds import rollout

LAN = Operator(private_urls=True)
MESSAGE = {"role": "user", "content": "Is {{sample.output_text}} = {{item.answer}}?"}


def says(content, usage=None, **message):
    answer = {"choices": [{"message": {"content": content, **message}}], "usage": usage}
    return lambda body: (200, {}, json.dumps(answer).encode())


def judge(base, operator=LAN, **fields):
    calls = {"timeout": 2.0, "deadline": 10.0, "retries": 1}
    plain = {"model": "judge-1", "input": [MESSAGE], "base_url": f"{base}/v1", "calls": calls}
    return ScoreModel(ScoreModelReward.model_validate(plain | fields), operator)


def kinds(outcomes):
    return [o.kind if isinstance(o, ScoreFailure) else o.value for o in outcomes]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(caller, "backoff", lambda attempt: 0.001)


def test_the_judge_is_asked_as_the_spec_says():
    server = ScoringServer(says('{"score": 0.75}'))
    operator = Operator(
        private_urls=True,
        secrets=frozenset({"JUDGE_KEY@127.0.0.1"}),
        environment={"JUDGE_KEY": "s3cret"},
    )
    with server.running() as base:
        spec = {
            "api_key_env": "JUDGE_KEY",
            "sampling_params": {"temperature": 0.0, "max_completions_tokens": 9},
            "range": (0, 5),
        }
        outcomes = judge(base, operator, **spec).score([rollout("4", answer="four")])
    assert kinds(outcomes) == [0.75]
    [asked] = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    assert asked["messages"][0] == {"role": "user", "content": "Is 4 = four?"}
    assert "from 0 to 5" in asked["messages"][1]["content"]
    assert (asked["model"], asked["temperature"], asked["max_completion_tokens"]) == (
        "judge-1",
        0,
        9,
    )
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["score"]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ('{"score": 1}', 1.0),
        ('```json\n{"score": 0.5}\n```', 0.5),
        ("0.25", 0.25),
        ("I give it 0.5 points.", 0.5),
        ('{"score": 2}', "bad_answer"),
        ('{"score": -0.1}', "bad_answer"),
        ('{"score": "high"}', "bad_answer"),
        ('{"score": true}', "bad_answer"),
        ('{"score": NaN}', "not_finite"),
        ('{"points": 1}', "bad_answer"),
        ("between 0.2 and 0.4", "bad_answer"),
        ("good", "bad_answer"),
        ("   ", "bad_answer"),
        (None, "bad_answer"),
    ],
)
def test_what_the_judge_says_is_a_number_in_range_or_a_failure(content, wanted):
    server = ScoringServer(says(content))
    with server.running() as base:
        assert kinds(judge(base).score([rollout("x", answer="x")])) == [wanted]


def test_other_answers_are_typed_failures():
    refusing = says(None, refusal="I would rather not.")
    unavailable = lambda body: (503, {}, b"")  # noqa: E731
    empty = lambda body: (200, {}, b'{"choices": []}')  # noqa: E731
    for step, kind in ((refusing, "refused"), (unavailable, "unavailable"), (empty, "bad_answer")):
        with ScoringServer(step).running() as base:
            assert kinds(judge(base).score([rollout("x", answer="x")])) == [kind]


def test_a_missing_column_fails_its_own_response_only():
    server = ScoringServer(says('{"score": 1}'))
    with server.running() as base:
        found = judge(base).score([rollout("a"), rollout("b", answer="b")])
    assert kinds(found) == ["raised", 1.0] and "no column 'answer'" in found[0].message
    assert len(server.requests) == 1


def test_the_same_question_is_paid_for_once(tmp_path):
    server = ScoringServer(says('{"score": 1}'))
    same = [rollout("a", answer="a"), rollout("b", answer="b"), rollout("a", answer="a")]
    operator = Operator(private_urls=True, judge_cache=tmp_path)
    with server.running() as base:
        first = judge(base, operator, cache="disk")
        assert kinds(first.score(same)) == kinds(first.score(same)) == [1, 1, 1]
        assert len(server.requests) == 2
        assert kinds(judge(base, operator, cache="disk").score(same)) == [1, 1, 1]
        assert len(server.requests) == 2, "another process finds them on disk"
        assert kinds(judge(base, operator).score(same)) == [1, 1, 1]
        assert len(server.requests) == 4, "memory dies with its process"
        uncached = judge(base, operator, cache="none")
        uncached.score(same)
        uncached.score(same)
        assert len(server.requests) == 8


def test_a_failure_is_not_remembered():
    server = ScoringServer(says("well"), says('{"score": 1}'))
    with server.running() as base:
        asked = judge(base)
        one = [rollout("a", answer="a")]
        assert kinds(asked.score(one)) == ["bad_answer"]
        assert kinds(asked.score(one)) == [1.0]


def test_a_damaged_cache_costs_a_question_never_a_score(tmp_path):
    (tmp_path / "judges.sqlite").write_bytes(b"no database at all" * 99)
    server = ScoringServer(says('{"score": 1}'))
    operator = Operator(private_urls=True, judge_cache=tmp_path)
    with server.running() as base:
        assert kinds(judge(base, operator, cache="disk").score([rollout("a", answer="a")])) == [1.0]


@pytest.mark.parametrize(
    ("spend", "scored"),
    [
        ({"max_requests": 3}, 3),
        ({"max_requests": 0}, 0),
        ({"max_cost": 0.5, "price_per_1k_input": 2.0, "price_per_1k_output": 4.0}, 2),
    ],
)
def test_spending_ends_at_its_cap(spend, scored):
    """100 prompt and 25 completion tokens at these prices cost 0.3 a question."""
    server = ScoringServer(says('{"score": 1}', {"prompt_tokens": 100, "completion_tokens": 25}))
    with server.running() as base:
        asked = judge(base, spend=spend, calls={"max_concurrency": 1})
        found = kinds(asked.score([rollout(str(i), answer="a") for i in range(6)]))
    assert found == [1.0] * scored + ["spend"] * (6 - scored)
    assert len(server.requests) == scored


def test_what_the_operator_does_not_allow_is_refused():
    with pytest.raises(SpecError, match="jobs may not send JUDGE_KEY"):
        judge("http://127.0.0.1:1", LAN, api_key_env="JUDGE_KEY")
    with pytest.raises(SpecError, match="private"):
        judge("http://127.0.0.1:1", Operator())


def test_a_number_with_an_exponent_is_one_number():
    assert score_in("1e-1", 0, 1) == 0.1
    assert score_in("about 5E-1", 0, 1) == 0.5
    with pytest.raises(RemoteFault):
        score_in("1e9999", 0, 1)


LABELS = {"labels": ("good", "fair", "3"), "passing_labels": ("good", "3")}


def labeller(base):
    plain = {"model": "judge-1", "input": [MESSAGE], "base_url": f"{base}/v1", **LABELS}
    plain["calls"] = {"timeout": 2.0, "deadline": 10.0, "retries": 0}
    return ScoreModel(LabelModelReward.model_validate(plain), LAN)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ('{"label": "good"}', 1.0),
        ('```json\n{"label": "fair"}\n```', 0.0),
        (" good\n", 1.0),
        ('"fair"', 0.0),
        ("3", 1.0),
        ('{"label": "best"}', "bad_answer"),
        ("good or fair", "bad_answer"),
        ('{"label": ["good"]}', "bad_answer"),
        ('{"score": 1}', "bad_answer"),
    ],
)
def test_a_label_passes_or_not_and_anything_else_is_a_failure(content, wanted):
    server = ScoringServer(says(content))
    with server.running() as base:
        assert kinds(labeller(base).score([rollout("4", answer="four")])) == [wanted]
    [asked] = server.requests
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["good", "fair", "3"]
    assert '"good", "fair", "3"' in asked["messages"][-1]["content"]


def test_passing_labels_are_among_the_labels():
    with pytest.raises(ValidationError, match="'best' is none of the labels"):
        LabelModelReward.model_validate(
            {"model": "m", "input": [MESSAGE], "labels": ["a", "b"], "passing_labels": ["best"]}
        )
