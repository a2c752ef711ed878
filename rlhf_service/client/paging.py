"""Lists that come in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, overload

import httpx
from pydantic import BaseModel

from rlhf_service.client.address import Address
from rlhf_service.client.call import Call, Read
from rlhf_service.client.errors import expect_object

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Page(Sequence[T], Generic[T]):
    """A part of a list, as a sequence. `client.pages` and `client.each` go through all of it."""

    data: tuple[T, ...]
    has_more: bool
    last_id: str | None
    """What the next part comes after."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self.data[place]

    def __len__(self) -> int:
        return len(self.data)


def page(kind: type[T]) -> Read[Page[T]]:
    """Reads a part of a list."""

    def read(reply: httpx.Response, home: Address) -> Page[T]:
        body = expect_object(reply)
        found = tuple(kind.model_validate(item, context=home) for item in body.get("data") or ())
        return Page(found, bool(body.get("has_more")), body.get("last_id"))

    return read


def next_part(call: Call[Page[T]], found: Page[T]) -> Call[Page[T]] | None:
    """The request for what comes behind `found`; None when that is all."""
    if not found.has_more or found.last_id is None:
        return None
    return replace(call, query={**call.query, "after": found.last_id})
