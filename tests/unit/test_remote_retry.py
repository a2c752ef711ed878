"""Backoff, Retry-After and the circuit breaker, on a clock of the test's own."""

from __future__ import annotations

import pytest

from rlhf_service.reward.remote.breaker import CircuitBreaker
from rlhf_service.reward.remote.retry import LONGEST, backoff, retry_after


def test_backoff_doubles_with_jitter_up_to_a_bound():
    assert [backoff(n, draw=1.0) for n in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert [backoff(n, draw=0.0) for n in range(3)] == [0.25, 0.5, 1.0]
    assert backoff(50, draw=1.0) == LONGEST
    assert len({backoff(3) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header, now=1000.0) == seconds


def test_the_breaker_lets_one_trial_through():
    now = [0.0]
    breaker = CircuitBreaker(2, 10.0, clock=lambda: now[0])
    breaker.failed()
    assert breaker.admits()
    breaker.failed()
    assert not breaker.admits()
    now[0] = 10.0
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.failed()
    now[0] = 19.9
    assert not breaker.admits()
    now[0] = 20.0
    assert breaker.admits()
    breaker.succeeded()
    assert all(breaker.admits() for _ in range(3))


def test_only_failures_in_a_row_open_the_circuit():
    breaker = CircuitBreaker(2, 10.0, clock=lambda: 0.0)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.admits()
