"""What a test of containers waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest


def wait_until(true: Callable[[], bool], seconds: float, logs: Callable[[], str]) -> None:
    """Fails with the end of the logs when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s:\n{logs()[-4000:]}")
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether it says 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
