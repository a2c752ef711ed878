"""Artefacts at any URI that fsspec knows: a folder, `s3://bucket/prefix`, `gs://…`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlhf_service.errors import UserError

OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    # Without bounds a store that hangs would hold its thread for minutes.
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}}},
}  # fmt: skip


class FsspecArtefacts:
    """Credentials come from the environment, as each file system reads them."""

    def __init__(self, uri: str) -> None:
        import fsspec
        from fsspec.utils import get_protocol

        kind = get_protocol(uri)
        try:
            self._fs, root = fsspec.core.url_to_fs(uri, **OPTIONS.get(kind, {}))
        except (ImportError, ValueError) as fault:
            raise UserError(f"artefacts at {uri!r} cannot be used: {fault}", "artefacts") from None
        self._root = str(root).rstrip("/")

    def sizes(self, under: str = "") -> dict[str, int]:
        self._fs.invalidate_cache()  # another process may have written
        try:
            found = self._fs.find(self._path(under) if under else self._root, detail=True)
        except FileNotFoundError:
            return {}
        skip = len(self._root) + 1
        return {path[skip:]: int(entry["size"]) for path, entry in found.items()}

    def put(self, name: str, source: Path) -> None:
        self._fs.put_file(str(source), self._path(name))

    def fetch(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self._fs.get_file(self._path(name), str(partial))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
