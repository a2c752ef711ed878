"""What a tokenizer's folder says of itself, read without loading it. Import-light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json; empty when there is none that can be read."""
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def chat_template(folder: Path) -> str | None:
    """How conversations are written, a Jinja template: from a file of its own, else of the settings."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8") or None
    source = tokenizer_config(folder).get("chat_template")
    if isinstance(source, list):
        named = {
            part.get("name"): part.get("template") for part in source if isinstance(part, dict)
        }
        source = named.get("default")
    return source if isinstance(source, str) and source else None
