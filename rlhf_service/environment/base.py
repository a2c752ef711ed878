"""The Environment port: what a policy talks to within one response."""

from __future__ import annotations

from typing import Protocol


class Environment(Protocol):
    """Answers turns. Depends on nothing but the turn, so that a step can be taken again."""

    def reply(self, turn: str) -> str | None:
        """What the policy reads next; None when the turn was its last."""
        ...
