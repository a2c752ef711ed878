"""The ArtefactStore port: copies of one job's files away from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ArtefactStore(Protocol):
    """Files by relative name, `checkpoints/sft-step-000010/MANIFEST`. Any call may raise whatever its
    implementation raises when the store is away.
    """

    def sizes(self, under: str = "") -> dict[str, int]:
        """Name → bytes of every file under a folder; all when it is empty."""
        ...

    def put(self, name: str, source: Path) -> None:
        """Copy a file there; an older one is replaced."""
        ...

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file here, whole or not at all. Raises FileNotFoundError."""
        ...

    def delete(self, name: str) -> None:
        """Nothing happens when it is not there."""
        ...
