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


class WeightStore:
    """Actor: which version lies where. Holds references, never tensors."""

    def __init__(self, role: str = "", vitals: Path | None = None) -> None:
        """`vitals`: the folder of the job's signs of life; None outside a job."""
        self._published: Newest[Published] = Newest()
        self._vitals = vitals and vitals_of_process(vitals, role)
        self._told("start")

    def publish(self, published: Published, kept: int) -> None:
        """Keep it, and of those before it so many that there are `kept`."""
        self._published.put(published.version, published, kept)
        self._told(f"publish version {published.version}")

    def find(self, version: int) -> Published | None:
        return self._published.find(version)

    def _told(self, phase: str) -> None:
        if self._vitals:
            self._vitals.enter(phase)
            self._vitals.rest()
