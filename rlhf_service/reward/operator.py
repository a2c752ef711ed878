"""What the operator lets rewards do beyond their own process. Everything is off by default.

| environment | meaning |
|---|---|
| RLHF_ALLOW_PRIVATE_URLS | 1: rewards may call private and loopback addresses |
| RLHF_ALLOW_URL_HOSTS | `host` or `host:port`, comma-separated: may be called wherever they resolve to |
| RLHF_JOB_SECRETS | `NAME` or `NAME@host`: variables that jobs may send, and to whom |
| RLHF_JUDGE_CACHE | folder for judges' answers |
| RLHF_ALLOW_PYTHON_GRADERS | 1: in bubblewrap; weak: with resource limits only |

Read by the control plane, which refuses at submission, and again by the process that scores.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

from rlhf_service.errors import SpecError
from rlhf_service.reward.remote.address import AddressRefused, check_url
from rlhf_service.spec.judges import (
    HttpReward,
    Judge,
    LabelModelReward,
    PythonReward,
    ScoreModelReward,
)
from rlhf_service.spec.walk import sections


class PythonMode(StrEnum):
    """How graders that are Python source may run."""

    OFF = "0"
    ISOLATED = "1"
    WEAK = "weak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The operator's settings."""

    private_urls: bool = False
    url_hosts: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    """`NAME` or `NAME@host`."""

    judge_cache: Path | None = None
    python: PythonMode = PythonMode.OFF
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where secrets are looked up."""

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Operator:
        """From the process's environment. Raises SpecError when a switch has no known position."""
        env = os.environ if environment is None else environment
        cache = env.get("RLHF_JUDGE_CACHE", "").strip()
        return cls(
            private_urls=switch(env, "RLHF_ALLOW_PRIVATE_URLS", ("0", "1")) == "1",
            url_hosts=frozenset(h.lower() for h in listed(env, "RLHF_ALLOW_URL_HOSTS")),
            secrets=frozenset(listed(env, "RLHF_JOB_SECRETS")),
            judge_cache=Path(cache) if cache else None,
            python=PythonMode(
                switch(env, "RLHF_ALLOW_PYTHON_GRADERS", tuple(m.value for m in PythonMode))
            ),
            environment=env,
        )

    def check_secret(self, name: str, host: str) -> None:
        """Raises SpecError unless jobs may send variable `name` to `host`."""
        if not {name, f"{name}@{host.lower()}"} & self.secrets:
            raise SpecError(
                f"jobs may not send {name} to {host}; have `{name}@{host}` added to RLHF_JOB_SECRETS"
            )

    def secret(self, name: str, host: str) -> str:
        """The variable's value. Raises SpecError when it may not be sent, is unset or unusable."""
        self.check_secret(name, host)
        value = self.environment.get(name, "").strip()
        if not value or not value.isascii() or not value.isprintable():
            raise SpecError(f"{name} is unset, or no header value, where the reward runs; set it")
        return value


def switch(env: Mapping[str, str], name: str, positions: tuple[str, ...]) -> str:
    """The position of a switch, the first when unset. Raises SpecError."""
    value = env.get(name, "").strip() or positions[0]
    if value not in positions:
        raise SpecError(f"{name} is {value!r}; set it to one of {', '.join(positions)}")
    return value


def listed(env: Mapping[str, str], name: str) -> list[str]:
    """A comma-separated list."""
    return [part for raw in env.get(name, "").split(",") if (part := raw.strip())]


def check_judges(spec: BaseModel, request_timeout: float, operator: Operator) -> None:
    """Every reward of `spec` is one that the operator allows. Raises SpecError with the field.

    Names are not resolved here: the process that calls does it, at the time of each call.
    """
    for where, judge in sections(spec):
        if not isinstance(judge, Judge):
            continue
        try:
            check_judge(judge, operator)
        except SpecError as refused:
            raise SpecError(refused.message, f"{where}.{refused.field or 'type'}") from None
        deadline, at = (
            (judge.deadline, "deadline")
            if isinstance(judge, PythonReward)
            else (judge.calls.deadline, "calls.deadline")
        )
        if deadline >= request_timeout:
            raise SpecError(
                f"{deadline:g} s is not below recovery.request_timeout ({request_timeout:g} s); "
                "lower it, or the actor counts as stalled first",
                f"{where}.{at}",
            )


def check_judge(judge: Judge, operator: Operator) -> None:
    """Raises SpecError whose field, if any, is relative to the judge."""
    match judge:
        case PythonReward():
            if operator.python is PythonMode.OFF:
                raise SpecError(
                    "python graders are off here; the operator allows them with "
                    "RLHF_ALLOW_PYTHON_GRADERS=1",
                    "type",
                )
        case HttpReward():
            host = checked_host(judge.url, operator, "url")
            for name in judge.headers_from_env.values():
                checked_secret(name, host, operator, "headers_from_env")
        case ScoreModelReward() | LabelModelReward():
            host = checked_host(judge.base_url, operator, "base_url")
            if judge.api_key_env is not None:
                checked_secret(judge.api_key_env, host, operator, "api_key_env")
            if judge.cache == "disk" and operator.judge_cache is None:
                raise SpecError(
                    "no folder for it here; use `memory`, or have RLHF_JUDGE_CACHE set", "cache"
                )


def checked_host(url: str, operator: Operator, at: str) -> str:
    try:
        return check_url(url, operator.private_urls, operator.url_hosts).host
    except AddressRefused as refused:
        raise SpecError(str(refused), at) from None


def checked_secret(name: str, host: str, operator: Operator, at: str) -> None:
    try:
        operator.check_secret(name, host)
    except SpecError as refused:
        raise SpecError(refused.message, at) from None
