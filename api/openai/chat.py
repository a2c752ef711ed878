"""Requests for text, as the OpenAI API has them, and the shapes of their answers."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from api.openai.graders import text_of
from api.openai.request import Section
from api.openai.transcript import Transcript, Turn
from api.service.faults import BadParameter
from rlhf_service.generation.protocol import Ask

Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Stops = Annotated[list[Stop], Field(max_length=4)]
JSON = dict[str, Any]
MOST_ROWS = 16
"""Answers of one request."""


class StreamOptions(Section):
    include_usage: bool = False
    include_obfuscation: bool = False
    """Without effect."""


class Sampling(Section):
    """What both kinds of request share. Settings that are not served may only say so."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """A finished model, or a base model."""
    max_tokens: int | None = Field(default=None, ge=1, le=16_384)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_ROWS)
    stop: Stop | Stops | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def ask(self, prompts: tuple[str, ...], max_tokens: int) -> Ask:
        """Raises BadParameter."""
        n = self.n or 1
        if len(prompts) * n > MOST_ROWS:
            raise BadParameter(f"n: more than {MOST_ROWS} answers at once; ask for fewer", "n")
        seed = secrets.randbits(31) if self.seed is None else self.seed % 2**31
        return Ask(
            prompts=prompts,
            n=n,
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=self.stops,
            seed=seed,
        )


class ChatMessage(Section):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Any]
    """Text, or parts that are text."""
    name: str | None = None
    """Without effect."""


class TextFormat(Section):
    type: Literal["text"]


class ChatRequest(Sampling):
    """The body of `chat.completions.create`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "ft:small:rlhf:sums:job-018f",
                    "messages": [{"role": "user", "content": "2+2="}],
                    "max_completion_tokens": 16,
                    "stream": True,
                }
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_completion_tokens: int | None = Field(default=None, ge=1, le=16_384)
    """256 when neither limit is given."""
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = None
    """Without effect."""

    @model_validator(mode="after")
    def one_limit(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens: is max_completion_tokens by an older name; give one")
        return self

    def to_ask(self, transcript: Transcript) -> Ask:
        """Raises BadParameter or SpecError."""
        turns: list[Turn] = []
        for number, message in enumerate(self.messages):
            content = message.content
            if not isinstance(content, str):
                content = text_of(content, f"messages[{number}].content")
            turns.append({"role": message.role, "content": content})
        try:
            prompt = transcript.prompt(turns)
        except ValueError as fault:
            raise BadParameter(f"messages: {fault}", "messages") from None
        return self.ask((prompt,), self.max_completion_tokens or self.max_tokens or 256)


class CompletionRequest(Sampling):
    """The body of `completions.create`."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_ROWS)]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: Literal[0] | None = None
    suffix: None = None

    def to_ask(self, _: Transcript) -> Ask:
        """The prompt as it is: no chat template. Raises BadParameter."""
        prompts = (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)
        return self.ask(prompts, self.max_tokens or 16)


@dataclass(frozen=True, slots=True)
class ChatShape:
    """How chat completions look."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"
    prefix = "chatcmpl"

    def choice(self, index: int, text: str, reason: str) -> JSON:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "finish_reason": reason, "logprobs": None}

    def opening(self, index: int) -> JSON | None:
        return self._part(index, {"role": "assistant", "content": ""}, None)

    def delta(self, index: int, text: str) -> JSON:
        return self._part(index, {"content": text}, None)

    def closing(self, index: int, reason: str) -> JSON:
        return self._part(index, {}, reason)

    def _part(self, index: int, delta: JSON, reason: str | None) -> JSON:
        return {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}


@dataclass(frozen=True, slots=True)
class TextShape:
    """How completions look."""

    kind = "text_completion"
    chunk_kind = "text_completion"
    prefix = "cmpl"

    def choice(self, index: int, text: str, reason: str | None) -> JSON:
        return {"index": index, "text": text, "finish_reason": reason, "logprobs": None}

    def opening(self, index: int) -> JSON | None:
        return None

    def delta(self, index: int, text: str) -> JSON:
        return self.choice(index, text, None)

    def closing(self, index: int, reason: str) -> JSON:
        return self.choice(index, "", reason)


Shape = ChatShape | TextShape


def head(shape: Shape, model: str, *, chunk: bool) -> JSON:
    """What an answer and every chunk of it begin with."""
    return {
        "id": f"{shape.prefix}-{secrets.token_hex(12)}",
        "object": shape.chunk_kind if chunk else shape.kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
    }


def usage(prompt_tokens: int, completion_tokens: int) -> JSON:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
