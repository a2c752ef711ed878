"""Whose a device's memory is between two requests to an engine."""

from __future__ import annotations

from typing import Any, Protocol


class Memory(Protocol):
    """A device's memory, as an engine uses it."""

    def take(self) -> None:
        """Before it is needed; nothing happens when it is here."""
        ...

    def give(self) -> None:
        """When nothing is drawn any more."""
        ...


class Kept:
    """Ours alone."""

    def take(self) -> None:
        return None

    def give(self) -> None:
        return None


class Shared:
    """Another process's: asleep, vLLM's weights lie in the host's memory, and its cache is gone."""

    def __init__(self, llm: Any) -> None:
        self._llm, self._asleep = llm, False

    def take(self) -> None:
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def give(self) -> None:
        self._llm.reset_prefix_cache()
        self._llm.sleep(level=1)
        self._asleep = True
