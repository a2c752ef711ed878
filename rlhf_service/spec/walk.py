"""Every section of a specification with its place, for checks that look at one kind of section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel


def sections(value: object, field: str = "") -> Iterator[tuple[str, BaseModel]]:
    """(dotted field, section), outer ones first: `stages[1].reward.graders.style`."""
    if isinstance(value, BaseModel):
        yield field, value
        for name in type(value).model_fields:
            yield from sections(getattr(value, name), f"{field}.{name}" if field else name)
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from sections(item, f"{field}[{index}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from sections(item, f"{field}.{key}")
