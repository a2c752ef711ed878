"""An ArtefactStore for tests: in memory, and away when the test says so."""

from __future__ import annotations

from pathlib import Path


class FakeArtefacts:
    """Remembers the order in which files came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.order: list[str] = []
        self.away = False

    def sizes(self, under: str = "") -> dict[str, int]:
        self._reach()
        wanted = f"{under}/" if under else ""
        return {
            name: len(data)
            for name, data in self.files.items()
            if name.startswith(wanted) or name == under
        }

    def put(self, name: str, source: Path) -> None:
        self._reach()
        self.files[name] = source.read_bytes()
        self.order.append(name)

    def fetch(self, name: str, target: Path) -> None:
        self._reach()
        if name not in self.files:
            raise FileNotFoundError(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.files[name])

    def delete(self, name: str) -> None:
        self._reach()
        self.files.pop(name, None)

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("the fake store is away")
