"""The Tracker port: figures and texts of a run, for tools that people already use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Tracker(Protocol):
    """Takes what a job reports. May raise anything; its caller then goes on without it."""

    def figures(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """`values`, by name, of one step of one stage."""
        ...

    def text(self, stage: str, step: int, name: str, text: str) -> None:
        """Markdown to read."""
        ...

    def close(self) -> None:
        """Everything is written when it returns."""
        ...
