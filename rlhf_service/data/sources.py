"""Rows of a data file or folder, whatever its format, each with its place for error messages."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataFormat, DataSpec

Item = Mapping[str, object]

FORMATS: Mapping[str, DataFormat] = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""Suffix → format."""

MAX_CELL = 2**24
"""Characters a CSV cell may have."""


class BadRow(ValueError):
    """A row that is none. What is wrong is its message."""


def items(spec: DataSpec, field: str) -> Iterator[tuple[str, Item | BadRow]]:
    """(`line 3` or `row 3`, the row) of each row in order. Raises DataError when there is no reading on.

    CSV and JSON Lines are counted by line from 1, the others by row from 1.
    """
    path = Path(spec.path)
    if not path.exists():
        raise DataError(f"no file {path}; give the path of a data file the cluster can read", field)
    try:
        match format_of(spec, path, field):
            case "jsonl":
                yield from jsonl(path)
            case "csv":
                yield from table(path)
            case "parquet":
                yield from parquet(path, field)
            case "dataset":
                yield from saved_dataset(path, spec.split, field)
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is not UTF-8 text ({fault.reason}); re-encode it", field) from None
    except csv.Error as fault:
        raise DataError(f"{path} is not CSV ({fault}); mend it or set `format`", field) from None
    except OSError as fault:
        raise DataError(
            f"{path} cannot be read ({fault.strerror or fault}); let the service's user read it",
            field,
        ) from None


def format_of(spec: DataSpec, path: Path, field: str) -> DataFormat:
    """What the spec says, else what the path looks like. Raises DataError."""
    if path.is_dir():
        if spec.format not in (None, "dataset", "parquet"):
            raise DataError(f"{path} is a folder, not a {spec.format} file", field)
        if spec.format is not None:
            return spec.format
        parts = any(path.glob("*.parquet"))
        return "parquet" if parts and not (path / "dataset_info.json").exists() else "dataset"
    if spec.split is not None:
        raise DataError(f"{path} is a file and has no split; leave `split` out", field)
    if spec.format == "dataset":
        raise DataError(f"{path} is a file; format `dataset` is a folder of save_to_disk", field)
    return spec.format or FORMATS.get(path.suffix.lower(), "jsonl")


def jsonl(path: Path) -> Iterator[tuple[str, Item | BadRow]]:
    # A byte-order mark at the start is no part of the first row.
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"line {number}", json_object(line)


def json_object(line: str) -> Item | BadRow:
    """One line's object."""
    try:
        item = json.loads(line)
    except json.JSONDecodeError as fault:
        return BadRow(f"not JSON ({fault.msg} at column {fault.colno})")
    except RecursionError:
        return BadRow("nested too deeply; a row is one flat JSON object")
    except ValueError as fault:
        return BadRow(f"not JSON ({fault})")
    if not isinstance(item, dict):
        return BadRow(f"a row must be a JSON object, not {type(item).__name__}")
    return item


def table(path: Path) -> Iterator[tuple[str, Item | BadRow]]:
    """Rows under a header line; every cell is text, but `margin` a number."""
    csv.field_size_limit(MAX_CELL)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for row in rows:
            place = f"line {rows.line_num}"
            if None in row or None in row.values():
                surplus = row.pop(None, [])
                found = sum(cell is not None for cell in row.values()) + len(surplus)
                yield place, BadRow(f"{found} cells under {len(rows.fieldnames or ())} columns")
                continue
            item: dict[str, object] = dict(row)
            if "margin" in item:
                try:
                    item["margin"] = float(row["margin"])
                except ValueError:
                    yield place, BadRow(f"column 'margin' is no number: {row['margin']!r}")
                    continue
            yield place, item


def parquet(path: Path, field: str) -> Iterator[tuple[str, Item]]:
    """A file, or every `.parquet` file of a folder in the order of their names."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        raise DataError(f"{path} has no .parquet file", field)
    with tempfile.TemporaryDirectory(prefix="rlhf-data-") as scratch:
        try:
            found = load_dataset(
                "parquet",
                data_files=[str(part) for part in parts],
                split="train",
                cache_dir=scratch,
            )
        except Exception as fault:
            # The library wraps whatever its reader raised, in types of its own.
            cause = fault.__cause__ or fault
            raise DataError(f"{path} is not Parquet that can be read: {cause}", field) from None
        yield from numbered(found)


def saved_dataset(path: Path, split: str | None, field: str) -> Iterator[tuple[str, Item]]:
    """A folder that `save_to_disk` of Hugging Face's datasets wrote."""
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as fault:
        raise DataError(
            f"{path} is no dataset folder ({fault}); give one that save_to_disk wrote", field
        ) from None
    if isinstance(found, DatasetDict):
        known = ", ".join(sorted(found))
        if split is None or split not in found:
            said = "has splits" if split is None else f"has no split {split!r}; it has"
            raise DataError(f"{path} {said} {known}; set `split` to one of them", field)
        found = found[split]
    elif split is not None:
        raise DataError(f"{path} has no splits; leave `split` out", field)
    yield from numbered(found)


def numbered(rows: object) -> Iterator[tuple[str, Item]]:
    for number, row in enumerate(rows, start=1):  # type: ignore[var-annotated, arg-type]
        yield f"row {number}", row
