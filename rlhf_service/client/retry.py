"""Whether and when a request is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx

from rlhf_service.client.address import Address
from rlhf_service.client.errors import Unreachable, refusal, seconds_after

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
NOT_DONE = frozenset({429, 503})
"""With these the service says that it has not even begun."""

Outcome: TypeAlias = httpx.Response | httpx.TransportError


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off. Each pause is drawn between half of its length and the whole, so that
    clients that fell together do not come back together.
    """

    tries: int = 5
    first: float = 0.25
    """Seconds before the second try."""
    most: float = 8.0
    patience: float = 60.0
    """Longest `Retry-After` that is waited for."""
    chance: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def pause(self, failures: int, asked: float | None = None) -> float:
        """Seconds to wait after this many failures in a row; not less than the service asked for."""
        length = min(self.first * 2.0 ** min(failures - 1, 30), self.most)
        return max(length * (0.5 + self.chance.random() / 2), min(asked or 0.0, self.patience))


@dataclass(slots=True)
class Trial:
    """One call's tries."""

    retry: Retry
    repeatable: bool
    """Doing it twice is doing it once."""
    failures: int = 0

    def wait(self, outcome: Outcome) -> float | None:
        """Seconds until the next try; None when this outcome stands."""
        if not self._worth(outcome):
            return None
        self.failures += 1
        if self.failures >= self.retry.tries:
            return None
        asked = seconds_after(outcome) if isinstance(outcome, httpx.Response) else None
        return self.retry.pause(self.failures, asked)

    def _worth(self, outcome: Outcome) -> bool:
        if isinstance(outcome, httpx.Response):
            again = RETRIED_STATUSES if self.repeatable else NOT_DONE
            return outcome.status_code in again
        if isinstance(outcome, httpx.UnsupportedProtocol):
            return False
        return self.repeatable or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)


def settled(outcome: Outcome, home: Address) -> httpx.Response:
    """The answer. Raises ApiError for what is none, or a refusal."""
    if isinstance(outcome, httpx.TransportError):
        origin = f" (the address is from {home.source})" if home.source else ""
        why = str(outcome) or type(outcome).__name__
        raise Unreachable(f"{home.url} does not answer: {why}{origin}") from None
    if outcome.status_code >= 400:
        raise refusal(outcome)
    return outcome
