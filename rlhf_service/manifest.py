"""Checkpoints as they lie on disk: one counts only when its MANIFEST stands. Import-light."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST"
STATE = "trainer_state.json"
MARK = "-step-"
"""Between stage and step in a checkpoint's name."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One valid checkpoint."""

    path: Path
    stage: str
    step: int

    def state(self) -> dict[str, Any]:
        """The trainer's own JSON state."""
        found: dict[str, Any] = json.loads((self.path / STATE).read_text(encoding="utf-8"))
        return found


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint folder, whole or not."""

    name: str
    stage: str
    step: int
    saved_at: datetime
    bytes: int
    files: int
    fault: str | None
    """Why it cannot be resumed from."""


class NotValid(ValueError):
    """The folder is no checkpoint to resume from; its message says why."""


def checkpoint_name(stage: str, step: int) -> str:
    """The name of its folder."""
    return f"{stage}{MARK}{step:06d}"


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in `path`. Raises NotValid."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        told = dict(manifest["files"])
        found = Checkpoint(path, str(manifest["stage"]), int(manifest["step"]))
    except FileNotFoundError:
        raise NotValid("it has no MANIFEST: it was not finished, or is being deleted") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise NotValid("its MANIFEST cannot be read") from None
    for name, size in told.items():
        try:
            has = (path / name).stat().st_size
        except OSError:
            raise NotValid(f"{name} is missing") from None
        if has != size:
            raise NotValid(f"{name} has {has} bytes, not {size}")
    return found


def list_checkpoints(root: Path) -> Iterator[Listed]:
    """Every folder of checkpoints under `root`, newest first."""
    found: list[Listed] = []
    for path in root.glob(f"*{MARK}*"):
        with suppress(FileNotFoundError):  # deleted while it was looked at
            if path.is_dir():
                found.append(listed(path))
    yield from sorted(found, key=lambda item: (item.saved_at, item.step), reverse=True)


def listed(path: Path) -> Listed:
    """What is known of one folder."""
    stage, _, number = path.name.rpartition(MARK)
    step, fault = int(number) if number.isdigit() else 0, None
    try:
        valid = read_checkpoint(path)
        stage, step = valid.stage, valid.step
    except NotValid as wrong:
        fault = str(wrong)
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    written = path / MANIFEST if fault is None else path
    return Listed(
        name=path.name,
        stage=stage,
        step=step,
        saved_at=datetime.fromtimestamp(written.stat().st_mtime, UTC),
        bytes=sum(sizes),
        files=len(sizes),
        fault=fault,
    )
