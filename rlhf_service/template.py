"""Templates as the OpenAI fine-tuning API's graders write them: `{{item.column}}` and the like."""

from __future__ import annotations

import re
from collections.abc import Callable

PLACE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


def names_in(template: str) -> list[str]:
    """What stands between double braces, in order."""
    return PLACE.findall(template)


def fill(template: str, value: Callable[[str], str]) -> str:
    """`template` with `value(name)` in each place. What is filled in is no template."""
    return PLACE.sub(lambda match: value(match[1]), template)


def item_column(name: str) -> str | None:
    """The column that a name such as `item.answer` stands for."""
    space, _, column = name.partition(".")
    return column if space == "item" and column else None


def columns_of(template: str) -> list[str]:
    """Columns of the data row that a template reads."""
    return [column for name in names_in(template) if (column := item_column(name)) is not None]
