"""Token buckets: how often something may happen. Each process counts for itself."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

RATE_HEADERS = tuple(f"x-ratelimit-{part}-requests" for part in ("limit", "remaining", "reset"))
KEPT = 10_000
"""Buckets at most; the one that was left alone longest goes first."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to one request for a token."""

    allowed: bool
    limit: int
    """Tokens of a full bucket."""
    remaining: int
    wait: float
    """Seconds until there is a token."""
    full_in: float
    """Seconds until the bucket is full again."""

    @property
    def headers(self) -> dict[str, str]:
        """For the answer's caller."""
        values = str(self.limit), str(self.remaining), f"{self.full_in:.3f}s"
        found = dict(zip(RATE_HEADERS, values, strict=True))
        return found if self.allowed else {**found, "retry-after": str(math.ceil(self.wait))}


class Rates:
    """A bucket for each name: full at first, filled again within a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        """0: no limit."""
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Name → tokens, and when there were so many."""

    def take(self, name: str) -> Taken | None:
        """A token, if there is one; None without a limit."""
        if not self.per_minute:
            return None
        moment, rate = self._clock(), self.per_minute / 60
        tokens, since = self._buckets.pop(name, (float(self.per_minute), moment))
        tokens = min(float(self.per_minute), tokens + (moment - since) * rate)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[name] = tokens, moment
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        return Taken(
            allowed=allowed,
            limit=self.per_minute,
            remaining=int(tokens),
            wait=max(0.0, (1 - tokens) / rate),
            full_in=(self.per_minute - tokens) / rate,
        )
