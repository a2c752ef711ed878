"""Which version of the weights lies where; free of torch, so that its process starts at once."""

from __future__ import annotations

from dataclasses import dataclass

import ray


@dataclass(frozen=True, slots=True)
class Published:
    """One version as the store keeps it."""

    version: int
    digests: dict[str, str]
    dtypes: dict[str, str]
    box: tuple[ray.ObjectRef]
    """The reference, boxed so that Ray passes it on instead of its value."""


class WeightStore:
    """Actor: which version lies where. Holds references, never tensors."""

    def __init__(self) -> None:
        self._published: dict[int, Published] = {}

    def publish(self, published: Published, kept: int) -> None:
        """Keep it, and of those before it so many that there are `kept`."""
        # By time, not by number: learners that go back to a checkpoint publish older versions again.
        self._published.pop(published.version, None)
        self._published[published.version] = published
        for version in list(self._published)[:-kept]:
            del self._published[version]

    def find(self, version: int) -> Published | None:
        return self._published.get(version)
