"""The newest versions of something that is published again and again."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """The versions published last, by time and not by number: learners that go back to a checkpoint
    publish older versions again.
    """

    def __init__(self) -> None:
        self._found: dict[int, Item] = {}

    def put(self, version: int, item: Item, kept: int) -> None:
        """Keep it, and of those before it so many that there are `kept`."""
        self._found.pop(version, None)
        self._found[version] = item
        for old in list(self._found)[:-kept]:
            del self._found[old]

    def replace(self, version: int, item: Item) -> None:
        """In place of the one that is kept under this number."""
        self._found[version] = item

    def find(self, version: int) -> Item | None:
        return self._found.get(version)

    def take(self, version: int) -> Item:
        """It; neither it nor those before it are kept any longer. Raises KeyError."""
        item = self._found[version]
        for old in list(self._found):
            del self._found[old]
            if old == version:
                break
        return item

    def all(self) -> list[Item]:
        """Oldest first."""
        return list(self._found.values())
