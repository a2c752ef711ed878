"""When to try again."""

from __future__ import annotations

import math
import random
import time
from email.utils import parsedate_to_datetime

FIRST = 0.5
LONGEST = 30.0


class TryAgain(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(self, message: str, after: float | None = None, counts: bool = True) -> None:
        super().__init__(message)
        self.after = after
        """Seconds that the server asks to wait."""
        self.counts = counts
        """Whether the circuit breaker counts it: a 429 comes from a server in good health."""


def backoff(attempt: int, draw: float | None = None) -> float:
    """Seconds before attempt `attempt` + 1: doubles, with jitter in [½, 1)."""
    jitter = random.random() if draw is None else draw
    return float(min(LONGEST, FIRST * 2.0**attempt) * (0.5 + jitter / 2))


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3); None without a usable one."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - (
                time.time() if now is None else now
            )
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
