"""Base models: folders that the operator gave a name."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from api.openai.objects import unix
from api.openai.transcript import transcript_of
from api.schemas.models import ModelView
from api.settings import Settings


def base_folder(settings: Settings, name: str) -> Path | None:
    """The folder of `name`, or of `name/below`; None when there is none inside what was named."""
    for own, root in settings.base_models.items():
        if name != own and not name.startswith(f"{own}/"):
            continue
        real_root = Path(os.path.realpath(root))
        folder = Path(os.path.realpath(real_root / name[len(own) :].lstrip("/")))
        if folder.is_relative_to(real_root) and is_model(folder):
            return folder
    return None


def base_views(settings: Settings) -> list[ModelView]:
    """Every base model, by name: the folders that were named, and those right below them."""
    found: dict[str, Path] = {}
    for name, root in settings.base_models.items():
        below = sorted(root.iterdir()) if root.is_dir() and not is_model(root) else []
        for label, folder in [(name, root), *((f"{name}/{p.name}", p) for p in below)]:
            if (real := base_folder(settings, label)) is not None and is_model(folder):
                found[label] = real
    return [view(name, folder) for name, folder in sorted(found.items())]


def is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def context_of(folder: Path) -> int | None:
    """Tokens that the model in `folder` can hold, as its config.json says; None when it does not."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    for name in ("max_position_embeddings", "n_positions"):
        said = config.get(name) if isinstance(config, dict) else None
        if isinstance(said, int) and said > 1:
            return said
    return None


def view(name: str, folder: Path) -> ModelView:
    written = datetime.fromtimestamp((folder / "config.json").stat().st_mtime, UTC)
    return ModelView(
        id=name,
        created=unix(written),
        owned_by="base",
        name=name,
        path=str(folder),
        created_at=written,
        stages=[],
        chat=transcript_of(folder).learns_messages,
    )
