"""Lists for people, and the same as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

R = TypeVar("R", bound=BaseModel)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Columns = Mapping[str, Callable[[R], object]]
"""Heading → what stands below it."""


def show(found: Sequence[R], columns: Columns[R], as_json: bool, empty: str = "none") -> None:
    """A table, or a JSON list. The first column is never cut."""
    if as_json:
        print_json([item.model_dump(mode="json") for item in found])
        return
    if not found:
        Console(stderr=True).print(empty, style="dim", markup=False)
        return
    first, *others = columns
    table = Table(Column(first, no_wrap=True), *(Column(name, overflow="fold") for name in others))
    for item in found:
        table.add_row(*(cell(of(item)) for of in columns.values()))
    Console().print(table)


def cell(value: object) -> str:
    """What others wrote is no markup."""
    return "" if value is None else escape(str(value))


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
