"""The Tracer port: spans of a request, from the API through the driver to the actors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Value = str | int | float | bool


class Span(Protocol):
    """Work that is going on."""

    @property
    def traceparent(self) -> str:
        """Names it as a parent to another process (W3C Trace Context); empty when nothing is traced."""
        ...

    def note(self, **attributes: Value) -> None:
        """Say more of it."""
        ...

    def rename(self, name: str) -> None:
        """Once it is known better what it is."""
        ...


class Tracer(Protocol):
    """Makes spans; where they go is the implementation's."""

    def span(
        self, name: str, parent: str | None = None, **attributes: Value
    ) -> AbstractContextManager[Span]:
        """A span under the one at hand, or under another process's `parent`. What is raised inside
        marks it as failed.
        """
        ...

    def close(self) -> None:
        """Send what is not sent yet, within a bound."""
        ...


class NoSpan:
    """Nothing is traced."""

    traceparent = ""

    def note(self, **attributes: Value) -> None:
        pass

    def rename(self, name: str) -> None:
        pass


NO_SPAN = NoSpan()


class NoTracer:
    """Traces nothing, at next to no cost."""

    @contextmanager
    def span(self, name: str, parent: str | None = None, **attributes: Value) -> Iterator[Span]:
        yield NO_SPAN

    def close(self) -> None:
        pass
