"""What a language model says of a response, by any endpoint with OpenAI's chat completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.reward.base import render
from rlhf_service.reward.operator import Operator, checked_host
from rlhf_service.reward.remote.address import Resolver, check_url, resolve
from rlhf_service.reward.remote.answers import parsed
from rlhf_service.reward.remote.cache import AnswerCache, build_cache
from rlhf_service.reward.remote.caller import Call, Caller
from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.reward.remote.question import question_of
from rlhf_service.reward.remote.spend import Purse
from rlhf_service.spec.judges import ModelJudge


class ScoreModel:
    """Asks a judge and reads its answers as scores."""

    def __init__(self, spec: ModelJudge, operator: Operator, resolver: Resolver = resolve) -> None:
        """Raises SpecError when the operator does not allow the endpoint or the key."""
        host = checked_host(spec.base_url, operator, "base_url")
        secrets = {}
        if spec.api_key_env is not None:
            secrets["Authorization"] = f"Bearer {operator.secret(spec.api_key_env, host)}"
        url = f"{spec.base_url.rstrip('/')}/chat/completions"
        destination = check_url(url, operator.private_urls, operator.url_hosts)
        self._spec, self._url, self._question = spec, url, question_of(spec)
        self._purse = Purse(spec.spend)
        self._cache: AnswerCache = build_cache(spec, operator)
        self._caller = Caller(
            url, destination, spec.calls, secrets, before=self._purse.open, resolver=resolver
        )

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        """The same question is asked once, in a batch and as long as the cache remembers it."""
        asked = [self._body(rollout) for rollout in rollouts]
        keys = [body if isinstance(body, ScoreFailure) else self._key(body) for body in asked]
        answers: dict[str, float | RemoteFault] = {}
        new: dict[str, bytes] = {}
        for key, body in zip(keys, asked, strict=True):
            if isinstance(key, ScoreFailure) or isinstance(body, ScoreFailure):
                continue
            known = self._cache.get(key)
            if known is not None:
                answers[key] = known
            else:
                new[key] = body
        calls = [Call(body, partial(self._read, key)) for key, body in new.items()]
        said: list[float | RemoteFault] = self._caller.call_all(calls)
        answers |= zip(new, said, strict=True)
        return [
            key if isinstance(key, ScoreFailure) else self._outcome(answers[key]) for key in keys
        ]

    def _outcome(self, answer: float | RemoteFault) -> ScoreOutcome:
        if isinstance(answer, RemoteFault):
            return answer.failure
        return Score(value=answer, components={self._spec.name: answer})

    def _body(self, rollout: Rollout) -> bytes | ScoreFailure:
        spec = self._spec
        try:
            messages = [
                {"role": message.role, "content": render(message.content, rollout)}
                for message in spec.input
            ]
        except LookupError as fault:
            return ScoreFailure(kind="raised", message=f"LookupError: {fault}")
        messages.append({"role": "system", "content": self._question.instruction})
        body: dict[str, Any] = {"model": spec.model, "messages": messages}
        sampling = spec.sampling_params.model_dump(exclude_none=True)
        if "max_completions_tokens" in sampling:
            sampling["max_completion_tokens"] = sampling.pop("max_completions_tokens")
        body |= sampling
        if spec.answer_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif spec.answer_format == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": self._question.schema(),
            }
        return json.dumps(body).encode()

    def _key(self, body: bytes) -> str:
        return hashlib.sha256(self._url.encode() + b"\0" + body).hexdigest()

    def _read(self, key: str, data: bytes) -> float:
        """The score in an answer; remembered. Raises RemoteFault."""
        answer = parsed(data)
        if isinstance(answer, dict):
            self._purse.pay(answer.get("usage"))
        value = self._question.read(said_in(answer))
        self._cache.put(key, value)
        return value


def said_in(answer: object) -> str:
    """The text of the first choice. Raises RemoteFault."""
    try:
        message = answer["choices"][0]["message"]  # type: ignore[index]
        refusal, content = message.get("refusal"), message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RemoteFault("bad_answer", "the answer is no chat completion") from None
    if refusal:
        raise RemoteFault("refused", f"the judge declines: {str(refusal)[:200]}")
    if not isinstance(content, str) or not content.strip():
        raise RemoteFault("bad_answer", "the judge says nothing")
    return content
