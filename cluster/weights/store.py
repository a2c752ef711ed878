"""Which version of the weights lies where; free of torch, so that its process starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ray

from cluster.signs import vitals_of_process
from rlhf_service.newest import Newest


@dataclass(frozen=True, slots=True)
class Published:
    """One version as the store keeps it."""

    version: int
    digests: dict[str, str]
    dtypes: dict[str, str]
    box: tuple[ray.ObjectRef, ...]
    """The reference, boxed so that Ray passes it on instead of its value; empty while the version is on
    its way to the actors by broadcast."""
    line: str = ""
    """Of whoever published it: each stage, and each life of the learner, begins one."""
    place: int = 0
    """In its line, whatever its number."""


class WeightStore:
    """Actor: which version lies where. Holds references, never tensors."""

    def __init__(self, role: str = "", vitals: Path | None = None) -> None:
        """`vitals`: the folder of the job's signs of life; None outside a job."""
        self._published: Newest[Published] = Newest()
        self._line, self._place = "", 0
        self._past: set[str] = set()
        """Lines that another one has followed."""
        self._vitals = vitals and vitals_of_process(vitals, role)
        self._told("start")

    def publish(self, published: Published, kept: int) -> None:
        """Keep it, and of those before it so many that there are `kept`; or, if it was announced, in
        place of that. Who is late, because newer ones or another line came in between, is passed over.
        """
        if self._is_late(published, kept):
            return
        earlier = self._published.find(published.version)
        if earlier is not None and (earlier.line, earlier.place) == (
            published.line,
            published.place,
        ):
            self._published.replace(published.version, published)
        else:
            self._published.put(published.version, published, kept)
        self._told(f"publish version {published.version}")

    def find(self, version: int) -> Published | None:
        return self._published.find(version)

    def _is_late(self, published: Published, kept: int) -> bool:
        if published.line in self._past:
            return True
        if published.line != self._line:
            self._past.add(self._line)
            self._line, self._place = published.line, published.place
        self._place = max(self._place, published.place)
        return published.place <= self._place - kept

    def _told(self, phase: str) -> None:
        if self._vitals:
            self._vitals.enter(phase)
            self._vitals.rest()
