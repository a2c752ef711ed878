"""What hangs is given up, and what is done is waited for."""

from __future__ import annotations

import threading

import pytest

from cluster.weights.attempt import Attempt
from rlhf_service.errors import WeightsUnavailable


def nothing() -> None:
    return None


def test_it_is_waited_for_and_its_fault_is_told():
    found = []
    Attempt(lambda beat: found.append(beat)).wait(nothing)
    assert len(found) == 1

    def fails(beat) -> None:
        raise OSError("no route")

    with pytest.raises(WeightsUnavailable, match="no route"):
        Attempt(fails).wait(nothing)


def test_what_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr("cluster.weights.attempt.SILENT_SECONDS", 0.1)
    released = threading.Event()
    with pytest.raises(WeightsUnavailable, match="nothing moved"):
        Attempt(lambda beat: released.wait(30)).wait(nothing)
    released.set()


def test_what_goes_on_may_take_longer(monkeypatch):
    monkeypatch.setattr("cluster.weights.attempt.SILENT_SECONDS", 0.2)
    released = threading.Event()

    def goes_on(beat) -> None:
        for _ in range(20):
            released.wait(0.03)
            beat()

    Attempt(goes_on).wait(nothing)


def test_who_waits_may_be_told_to_stop():
    class Refused(Exception):
        pass

    def check() -> None:
        raise Refused

    released = threading.Event()
    with pytest.raises(Refused):
        Attempt(lambda beat: released.wait(30)).wait(check)
    released.set()
