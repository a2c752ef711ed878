"""A request and how its answer is read, apart from who carries it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from rlhf_service.client.address import Address
from rlhf_service.client.errors import expect_object

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)

Read = Callable[[httpx.Response, Address], T]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to the API."""

    method: str
    path: str
    read: Read[T]
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    files: Any = None
    """Parts of a form, as httpx takes them."""
    data: Mapping[str, str] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    """Sending it twice does no more than sending it once."""
    timeout: httpx.Timeout | None = None
    """The client's own when None."""

    def options(self) -> dict[str, Any]:
        """As keywords of httpx's `request`."""
        given = {
            "params": {name: value for name, value in self.query.items() if value is not None},
            "json": self.json,
            "files": self.files,
            "data": self.data,
            "content": self.content,
            "headers": self.headers,
            "timeout": self.timeout,
        }
        return {name: value for name, value in given.items() if value is not None}


def once(key: str | None) -> dict[str, str]:
    """The header by which a request sent again makes no second thing."""
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def part(text: str) -> str:
    """One part of a path; slashes in it are its own."""
    return quote(text, safe="")


def one(kind: type[R]) -> Read[R]:
    """Reads one record."""
    return lambda reply, home: kind.model_validate(expect_object(reply), context=home)


def every(kind: type[R]) -> Read[list[R]]:
    """Reads a list that comes whole."""

    def read(reply: httpx.Response, home: Address) -> list[R]:
        found = expect_object(reply).get("data") or []
        return [kind.model_validate(item, context=home) for item in found]

    return read


def plain(reply: httpx.Response, _: Address) -> dict[str, Any]:
    """Reads a JSON object as it is."""
    return expect_object(reply)


def text(reply: httpx.Response, _: Address) -> str:
    return reply.text


def raw(reply: httpx.Response, _: Address) -> bytes:
    return reply.content
