"""Writes docs/configuration.md from the settings: `python -m api.configuration`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from api.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Every setting of the control plane is an environment variable. `python -m api.serve` reads them; `rlhf
serve` sets storage, ports and the cluster's address by itself and passes the others on. This page is
generated from `api/settings.py` by `python -m api.configuration`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(map(line, Settings.model_fields.items()))


def line(item: tuple[str, FieldInfo]) -> str:
    name, field = item
    said = " ".join((field.description or "").split())
    return f"| `RLHF_{name.upper()}` | {default(field)} | {said}{bounds(field)} |\n"


def default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, SecretStr):
        return "(secret)"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def bounds(field: FieldInfo) -> str:
    """Limits and choices, in words."""
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = [
        f"{words} {getattr(rule, sign)}"
        for rule in field.metadata
        for sign, words in signs.items()
        if getattr(rule, sign, None) is not None
    ]
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        said.append("one of " + ", ".join(f"`{choice}`" for choice in choices))
    return f" ({'; '.join(said)})" if said else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
