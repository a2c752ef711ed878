"""Lists for people, and the same as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

R = TypeVar("R", bound=BaseModel)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Columns = Mapping[str, Callable[[R], object]]
"""Heading → what stands below it."""


SHORT = 16
"""Characters of a column that is never broken."""

UNSEEN = 10_000
"""Width of a table that goes to a file or another program: every row on one line."""


def show(
    found: Sequence[R],
    columns: Columns[R],
    as_json: bool,
    empty: str = "none",
    cut: Collection[str] = (),
) -> None:
    """A table, or a JSON list. On a narrow terminal the columns in `cut` lose their ends, other long
    ones are folded, the first and short ones are whole.
    """
    if as_json:
        print_json([item.model_dump(mode="json") for item in found])
        return
    if not found:
        Console(stderr=True).print(empty, style="dim", markup=False)
        return
    rows = [[cell(of(item), name in cut) for name, of in columns.items()] for item in found]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, name in enumerate(columns):
        short = all(len(row[number]) <= SHORT for row in rows) and name not in cut
        table.add_column(name, no_wrap=number == 0 or short, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=UNSEEN)).print(table)


def cell(value: object, cut: bool) -> Text:
    """What others wrote is no markup."""
    shown = "" if value is None else str(value)
    return Text(shown, no_wrap=True, overflow="ellipsis") if cut else Text(shown)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_record(record: BaseModel) -> None:
    print_json(record.model_dump(mode="json"))


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
