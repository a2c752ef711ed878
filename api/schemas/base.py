"""The base of every answer, and lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class View(BaseModel):
    """Base of every answer. The docstring under a field is its description in the schema."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class Page(View, Generic[Item]):
    """A part of a list. The next part: the same request with `after` = `last_id`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, key: Callable[[Item], str]) -> Page[Item]:
        """From up to `limit` + 1 items: one too many tells that there are more."""
        data = list(found[:limit])
        return cls(
            data=data,
            has_more=len(found) > limit,
            first_id=key(data[0]) if data else None,
            last_id=key(data[-1]) if data else None,
        )
