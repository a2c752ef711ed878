"""A file fetched through breaks: what has come stays, the rest is asked for. Nothing here sends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import httpx

from rlhf_service.client.errors import ApiError, Unreachable
from rlhf_service.client.retry import Retry


@dataclass(slots=True)
class Fetch:
    """One file. It appears under its name when it is whole."""

    path: str
    """Of the API."""
    into: Path
    retry: Retry
    done: bool = False
    _etag: str = ""
    _failures: int = 0

    @property
    def partial(self) -> Path:
        return self.into.with_name(f".{self.into.name}.part")

    def headers(self) -> dict[str, str]:
        """Of the next request: only what is missing, and only if the file is still the same."""
        # Bytes must come as they lie on the disk: a part of a compressed file is none of it.
        plain = {"Accept-Encoding": "identity"}
        if not self._etag or not self.partial.exists():
            return plain
        start = self.partial.stat().st_size
        return {**plain, "Range": f"bytes={start}-", "If-Range": self._etag}

    def begin(self, reply: httpx.Response) -> BinaryIO:
        """Where this answer's bytes belong."""
        self.into.parent.mkdir(parents=True, exist_ok=True)
        self._etag = reply.headers.get("etag", "")
        return self.partial.open("ab" if reply.status_code == 206 else "wb")

    def end(self) -> None:
        self.partial.replace(self.into)
        self.done = True

    def broken(self, fault: httpx.TransportError) -> float:
        """Seconds until the next request. Raises Unreachable when it is hopeless."""
        self._failures += 1
        if self._failures >= self.retry.tries:
            raise Unreachable(f"{self.path} broke off: {fault}") from None
        return self.retry.pause(self._failures)


def named(into: Path, path: str) -> Path:
    """Where the job's file `path` goes: `into`, or under its own name when that is a folder."""
    return into / PurePosixPath(path).name if into.is_dir() else into


def below(folder: Path, path: str) -> Path:
    """Where a job's file goes. Raises ApiError for a path that leads out of the folder."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ApiError(f"the service named a file {path!r}, which does not lie in its job's folder")
    return folder / parts
