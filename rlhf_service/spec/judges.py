"""Rewards that leave the process: a remote scorer, a model as judge, and Python of the user's own."""

from __future__ import annotations

import ast
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from rlhf_service.spec.base import Section

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048)]

FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type"})
MAX_SOURCE = 256 * 1024


class RemoteCalls(Section):
    """How a remote reward is called."""

    timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds one attempt may take, from connecting to the answer's last byte."""

    deadline: float = Field(default=240.0, gt=0)
    """Seconds that scoring one batch of responses may take altogether, retries included. What is
    not answered by then fails as `timeout`. Must be below recovery.request_timeout."""

    retries: int = Field(default=3, ge=0, le=10)
    """Attempts after the first, when the server answers 429 or 5xx, or the connection fails."""

    max_concurrency: int = Field(default=4, ge=1, le=64)
    """Requests under way at once, for each reward actor."""

    max_response_bytes: int = Field(default=2**20, ge=64, le=64 * 2**20)
    """An answer longer than this is refused."""

    breaker_failures: int = Field(default=8, ge=1)
    """Failed attempts in a row after which nothing is sent for `breaker_seconds`."""

    breaker_seconds: float = Field(default=30.0, gt=0)
    """How long the circuit stays open before one request tries again."""


class HttpReward(Section):
    """Scores from a service: POST {"items": […]} → {"scores": […]}."""

    type: Literal["http"] = "http"
    name: str = "http"
    """Name of this component in every Score."""

    url: Url
    """Where to POST. Private addresses are refused unless the operator allows them."""

    headers_from_env: dict[HeaderName, EnvironmentName] = Field(default_factory=dict, max_length=8)
    """Header → environment variable that holds its value. The operator lists the variables that
    jobs may send (RLHF_JOB_SECRETS)."""

    batch_size: int = Field(default=16, ge=1, le=1024)
    """Responses in one request."""

    calls: RemoteCalls = RemoteCalls()
    """Timeouts, retries and limits."""

    @field_validator("headers_from_env")
    @classmethod
    def headers_are_not_framing(cls, headers: dict[str, str]) -> dict[str, str]:
        if taken := sorted(name for name in headers if name.lower() in FRAMING):
            raise ValueError(f"{', '.join(taken)}: set by the client itself; leave it out")
        return headers


class JudgeMessage(Section):
    """One message to the judge."""

    role: Literal["system", "developer", "user", "assistant"] = "user"
    """Who speaks."""

    content: str = Field(min_length=1)
    """Text with `{{item.<column>}}` and `{{sample.output_text}}` replaced."""


class JudgeSampling(Section):
    """How the judge samples. Unset values are left to the endpoint."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling."""

    seed: int | None = None
    """Seed, where the endpoint takes one."""

    max_completions_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of an answer; sent as max_completion_tokens."""

    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """For reasoning models."""


class SpendSpec(Section):
    """What one reward actor may spend on a judge in its life. Counted in memory."""

    max_requests: int | None = Field(default=None, ge=0)
    """Requests sent, retries included."""

    max_cost: float | None = Field(default=None, ge=0)
    """Cost by the prices below. Requests under way when it is reached are still paid for."""

    price_per_1k_input: float = Field(default=0.0, ge=0)
    """Price of 1,000 prompt tokens."""

    price_per_1k_output: float = Field(default=0.0, ge=0)
    """Price of 1,000 completion tokens."""

    @model_validator(mode="after")
    def cost_needs_a_price(self) -> SpendSpec:
        if self.max_cost is not None and not (self.price_per_1k_input or self.price_per_1k_output):
            raise ValueError("max_cost needs price_per_1k_input or price_per_1k_output")
        return self


class AskedModel(Section):
    """What graders by a language model share."""

    model: str = Field(min_length=1)
    """The judge, as its endpoint names it."""

    input: tuple[JudgeMessage, ...] = Field(min_length=1)
    """What the judge is asked."""

    sampling_params: JudgeSampling = JudgeSampling()
    """How the judge samples."""

    base_url: Url = "https://api.openai.com/v1"
    """Any endpoint with OpenAI's chat completions under it."""

    api_key_env: EnvironmentName | None = None
    """Environment variable with the bearer token; the operator lists it in RLHF_JOB_SECRETS."""

    answer_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """What the endpoint is asked to hold the answer to. `text` for endpoints that know neither."""

    cache: Literal["none", "memory", "disk"] = "memory"
    """Where answers are kept. `disk` also outlives the process, in the operator's folder
    (RLHF_JUDGE_CACHE)."""

    cache_entries: int = Field(default=10_000, ge=1)
    """Answers kept in memory."""

    spend: SpendSpec = SpendSpec()
    """Spend cap."""

    calls: RemoteCalls = RemoteCalls(timeout=60.0)
    """Timeouts, retries and limits."""


class ScoreModelReward(AskedModel):
    """A number that a language model gives (the OpenAI fine-tuning API's score_model grader)."""

    type: Literal["score_model"] = "score_model"
    name: str = "score_model"
    """Name of this component in every Score."""

    range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest score; a number outside it is a failure, not clipped."""

    @field_validator("range")
    @classmethod
    def range_is_ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not bounds[0] < bounds[1]:
            raise ValueError(f"{bounds[0]} is not below {bounds[1]}")
        return bounds


class LabelModelReward(AskedModel):
    """1 when a language model gives a passing label, else 0 (the OpenAI API's label_model grader)."""

    type: Literal["label_model"] = "label_model"
    name: str = "label_model"
    """Name of this component in every Score."""

    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2)
    """What the judge chooses from; another answer is a failure."""

    passing_labels: tuple[str, ...] = Field(min_length=1)
    """Labels that earn 1."""

    @model_validator(mode="after")
    def passing_labels_are_labels(self) -> LabelModelReward:
        unknown = sorted(set(self.passing_labels) - set(self.labels))
        if unknown:
            raise ValueError(f"passing_labels: {unknown[0]!r} is none of the labels")
        return self


class PythonReward(Section):
    """`def grade(sample, item) -> float` (the OpenAI fine-tuning API's python grader).

    Runs in a sandboxed process, and only where the operator allows it.
    """

    type: Literal["python"] = "python"
    name: str = "python"
    """Name of this component in every Score."""

    source: str = Field(min_length=1, max_length=MAX_SOURCE)
    """Python that defines `grade`. `sample["output_text"]` is the response, `item` the data row.
    It may import the standard library only."""

    timeout: float = Field(default=5.0, gt=0, le=120)
    """Seconds one call may take."""

    deadline: float = Field(default=240.0, gt=0)
    """Seconds that grading one batch may take. Must be below recovery.request_timeout."""

    memory_mb: int = Field(default=512, ge=64, le=8192)
    """Address space of the grader's process, MiB."""

    @field_validator("source")
    @classmethod
    def source_defines_grade(cls, source: str) -> str:
        try:
            tree = ast.parse(source)
        except SyntaxError as fault:
            raise ValueError(f"line {fault.lineno}: {fault.msg}") from None
        except (ValueError, RecursionError, MemoryError) as fault:
            raise ValueError(f"not Python that can be parsed: {fault or 'too deep'}") from None
        found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "grade"]
        if not found or len(found[-1].args.posonlyargs) + len(found[-1].args.args) < 2:
            raise ValueError("must define `def grade(sample, item)` at the top level")
        return source


ModelJudge = ScoreModelReward | LabelModelReward

Judge = HttpReward | ModelJudge | PythonReward
