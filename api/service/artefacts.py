"""A job's files: listing them, one of them, and all of them as one stream."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from api.schemas.artefacts import ArtefactView
from api.schemas.base import Page
from api.service.caller import Caller
from api.service.copies import Copies
from api.service.faults import BadParameter, NotFound
from api.service.jobs import Jobs
from api.settings import Settings

PUBLIC = (
    "spec.json",
    "events",
    "checkpoints",
    "stages",
    "model",
    "evaluation",
    "bundles",
    "tracking",
    "faults.jsonl",
    "quarantine.jsonl",
    "result.json",
)
"""What is shown of a job's folder. Tokens of its drivers lie there too, and are not."""
PIECE = 2**18
LONGEST = 255
"""Bytes of one name of a path."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file inside a job's folder."""

    path: str
    file: Path
    bytes: int
    modified: float
    """0 when only the copies have it."""


class Artefacts:
    """What the routes under `/v1/jobs/{id}/artefacts` and `archive` call."""

    def __init__(self, jobs: Jobs, copies: Copies, settings: Settings) -> None:
        self.jobs = jobs
        self.settings = settings
        self.copies = copies

    async def page(
        self, caller: Caller, job_id: str, under: str, after: str | None, limit: int
    ) -> Page[ArtefactView]:
        """By path. `under` is a file or folder of the job."""
        found = await self.every(caller, job_id, under)
        if after is not None:
            found = [artefact for artefact in found if artefact.path > after]
        views = [view(job_id, artefact) for artefact in found[: limit + 1]]
        return Page[ArtefactView].of(views, limit, lambda item: item.path)

    async def every(self, caller: Caller, job_id: str, under: str = "") -> list[Artefact]:
        """Every file, by path. Raises NotFound or BadParameter."""
        root = await self._root(caller, job_id)
        parts = checked_parts(under, "path") if under else ()
        found = await asyncio.to_thread(lambda: list(walk(root, parts)))
        have = {artefact.path for artefact in found}
        for name, size in (await self.copies.sizes(job_id, "/".join(parts))).items():
            if name not in have and shown(name.split("/")):
                found.append(Artefact(name, root / name, size, 0.0))
        found.sort(key=lambda artefact: artefact.path)
        if under and not found:
            raise NotFound(f"job {job_id} has no file {under!r}", "path")
        return found

    async def at_hand(self, caller: Caller, job_id: str, under: str) -> list[Artefact]:
        """The same, with what only the copies have brought back to the folder."""
        found = await self.every(caller, job_id, under)
        for artefact in found:
            if not artefact.modified:
                await self.copies.fetch(job_id, artefact.path)
        return found

    async def file(self, caller: Caller, job_id: str, path: str) -> Path:
        """Where one file lies. Raises NotFound, also for what is not shown."""
        root = await self._root(caller, job_id)
        parts = checked_parts(path, "path")
        found = await asyncio.to_thread(inside, root, parts)
        if found is None and shown(parts) and await self.copies.fetch(job_id, "/".join(parts)):
            found = await asyncio.to_thread(inside, root, parts)
        if found is None:
            raise NotFound(f"job {job_id} has no file {path!r}", "path")
        return found

    async def _root(self, caller: Caller, job_id: str) -> Path:
        await self.jobs.get(caller, job_id)
        return self.settings.folder(job_id).root


def checked_parts(path: str, param: str) -> tuple[str, ...]:
    """The names a relative path is made of. Raises BadParameter."""
    parts = tuple(part for part in path.split("/") if part)
    odd = [p for p in parts if p in (".", "..") or "\\" in p or len(os.fsencode(p)) > LONGEST]
    if not parts or odd or "\0" in path:
        raise BadParameter(f"{path!r} is no path of a job's file", param)
    return parts


def shown(parts: Sequence[str]) -> bool:
    """Whether the file may be seen at all."""
    return parts[0] in PUBLIC and not any(part.startswith(".") for part in parts)


def inside(root: Path, parts: Sequence[str]) -> Path | None:
    """The regular file that `parts` name, when it is shown and really lies under `root`."""
    if not shown(parts):
        return None
    real = Path(os.path.realpath(root.joinpath(*parts)))
    return real if real.is_relative_to(os.path.realpath(root)) and real.is_file() else None


def walk(root: Path, parts: Sequence[str]) -> Iterator[Artefact]:
    """Every shown file under what `parts` name; links are not followed."""
    tops = [parts] if parts else [(name,) for name in PUBLIC]
    for top in tops:
        if top[0] not in PUBLIC or any(part.startswith(".") for part in top):
            continue
        start = root.joinpath(*top)
        if start.is_symlink() or not Path(os.path.realpath(start)).is_relative_to(
            os.path.realpath(root)
        ):
            continue
        if start.is_file():
            yield from described(root, start)
        for folder, folders, names in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if not name.startswith("."):
                    yield from described(root, Path(folder) / name)


def described(root: Path, file: Path) -> Iterator[Artefact]:
    """The file's record; none for a link, or for what was deleted meanwhile."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if file.is_symlink() or not file.is_file():
        return
    path = file.relative_to(root).as_posix()
    yield Artefact(path, file, found.st_size, found.st_mtime)


def view(job_id: str, artefact: Artefact) -> ArtefactView:
    return ArtefactView(
        path=artefact.path,
        bytes=artefact.bytes,
        modified_at=datetime.fromtimestamp(artefact.modified, UTC),
        url=f"/v1/jobs/{job_id}/artefacts/{quote(artefact.path)}",
    )


def header(folder: str, artefact: Artefact) -> bytes:
    """What stands before a file in a tar archive."""
    info = tarfile.TarInfo(f"{folder}/{artefact.path}")
    info.size, info.mtime, info.mode = artefact.bytes, int(artefact.modified), 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def tar_size(folder: str, artefacts: Sequence[Artefact]) -> int:
    """Bytes of the whole archive."""
    blocks = sum(len(header(folder, a)) + padded(a.bytes) for a in artefacts)
    return blocks + 2 * tarfile.BLOCKSIZE


def tar(folder: str, artefacts: Sequence[Artefact]) -> Iterator[bytes]:
    """An archive of the files as they are sent; nothing is written to disk.

    A file that grew is told up to its size when it was listed; one that shrank or went ends the
    stream, which the receiver notices by its length.
    """
    for artefact in artefacts:
        yield header(folder, artefact)
        left = artefact.bytes
        with artefact.file.open("rb") as file:
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece
        if left:
            raise OSError(f"{artefact.path} became shorter while it was sent")
        yield b"\0" * (padded(artefact.bytes) - artefact.bytes)
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def padded(size: int) -> int:
    """Bytes that a file takes in a tar archive."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
