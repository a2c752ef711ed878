"""Scores from a service over HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.reward.operator import Operator, checked_host
from rlhf_service.reward.remote.address import Resolver, check_url, resolve
from rlhf_service.reward.remote.answers import number, parsed
from rlhf_service.reward.remote.caller import Call, Caller
from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.spec.judges import HttpReward


class HttpScorer:
    """Scores by HttpReward."""

    def __init__(self, spec: HttpReward, operator: Operator, resolver: Resolver = resolve) -> None:
        """Raises SpecError when the operator does not allow the URL or a secret."""
        host = checked_host(spec.url, operator, "url")
        secrets = {h: operator.secret(env, host) for h, env in spec.headers_from_env.items()}
        destination = check_url(spec.url, operator.private_urls, operator.url_hosts)
        self._spec = spec
        self._caller = Caller(spec.url, destination, spec.calls, secrets, resolver=resolver)

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        size = self._spec.batch_size
        batches = [rollouts[start : start + size] for start in range(0, len(rollouts), size)]
        calls = [
            Call(body_of(batch), partial(outcomes_of, self._spec.name, len(batch)))
            for batch in batches
        ]
        answers: list[list[ScoreOutcome] | RemoteFault] = self._caller.call_all(calls)
        outcomes: list[ScoreOutcome] = []
        for batch, answer in zip(batches, answers, strict=True):
            outcomes += [answer.failure] * len(batch) if isinstance(answer, RemoteFault) else answer
        return outcomes


def body_of(rollouts: Sequence[Rollout]) -> bytes:
    """The request. Raises ValueError when a data row holds NaN."""
    items = [
        {"prompt": r.prompt.text, "response": r.text, "item": dict(r.prompt.item)} for r in rollouts
    ]
    return json.dumps({"items": items}, default=str, allow_nan=False).encode()


def outcomes_of(name: str, wanted: int, data: bytes) -> list[ScoreOutcome]:
    """One outcome for each item of the request. Raises RemoteFault when the whole is wrong."""
    answer = parsed(data)
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, list):
        raise RemoteFault("bad_answer", 'the answer is not {"scores": […]}')
    if len(scores) != wanted:
        raise RemoteFault("bad_answer", f"{len(scores)} scores for {wanted} items")
    return [outcome_of(name, entry) for entry in scores]


def outcome_of(name: str, entry: object) -> ScoreOutcome:
    """A number, {"score": number, "components": {…}} or {"error": …}."""
    try:
        if not isinstance(entry, dict):
            value = number(entry, "the score")
            return Score(value=value, components={name: value})
        if unknown := sorted(str(key) for key in entry.keys() - {"score", "components", "error"}):
            raise RemoteFault("bad_answer", f"unknown keys in a score: {', '.join(unknown)[:200]}")
        if "error" in entry:
            return ScoreFailure(kind="refused", message=str(entry["error"])[:500])
        value = number(entry.get("score"), "the score")
        parts = entry.get("components", {})
        if not isinstance(parts, dict):
            raise RemoteFault("bad_answer", "components is not an object")
        named = {f"{name}.{key}": number(part, f"component {key}") for key, part in parts.items()}
        return Score(value=value, components={name: value} | named)
    except RemoteFault as fault:
        return fault.failure
