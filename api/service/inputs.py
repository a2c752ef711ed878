"""What a job reads: its data files with their digests, and the models it starts from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.settings import Settings
from rlhf_service.spec import DataSpec, FolderModel, JobSpec, ScratchModel
from rlhf_service.spec.walk import sections

UPLOADED = re.compile(r"file-[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Input:
    """One file or folder that a specification names."""

    field: str
    kind: str
    """`data`, `model` or `tokenizer`."""
    path: str
    sha256: str | None
    """Of its bytes, when it is data; of a folder, of its files' digests."""
    bytes: int
    source: str | None
    """The job that left it, or the uploaded file that it is."""


def inputs_of(spec: JobSpec, settings: Settings) -> list[Input]:
    """Reads every data file once. The paths were checked before."""
    digests: dict[str, tuple[str, int]] = {}
    found = []
    for field, path, kind in named(spec):
        sha256, size = None, 0
        if kind == "data":
            if path not in digests:
                digests[path] = digest(Path(path))
            sha256, size = digests[path]
        else:
            size = sum(file.stat().st_size for file in files_in(Path(path)))
        found.append(Input(field, kind, path, sha256, size, source_of(path, settings)))
    return found


def named(spec: JobSpec) -> Iterator[tuple[str, str, str]]:
    """(dotted field, path, kind) of everything that a specification reads."""
    for field, section in sections(spec):
        if isinstance(section, DataSpec):
            yield f"{field}.path", section.path, "data"
        elif isinstance(section, FolderModel):
            yield f"{field}.path", section.path, "model"
        elif isinstance(section, ScratchModel) and section.tokenizer is not None:
            yield f"{field}.tokenizer", section.tokenizer, "tokenizer"


def source_of(path: str, settings: Settings) -> str | None:
    """The job, or the uploaded file, that a path belongs to."""
    real = Path(os.path.realpath(path))
    for root in (settings.storage / "jobs", settings.uploads):
        root = Path(os.path.realpath(root))
        if root in real.parents:
            name = real.relative_to(root).parts[0]
            uploaded = UPLOADED.match(name)
            return uploaded[0] if uploaded else name
    return None


def files_in(path: Path) -> list[Path]:
    """The file itself, or every file of a folder, by name."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file, or of a folder's files taken together."""
    files = files_in(path)
    size = sum(file.stat().st_size for file in files)
    each = [(file, file_digest(file)) for file in files]
    if path.is_file():
        return each[0][1], size
    told = "".join(f"{found}  {file.relative_to(path).as_posix()}\n" for file, found in each)
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest(), size


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
