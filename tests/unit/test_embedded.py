"""The supervisor's signals, state folder and watch over its children, without the children."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.embedded import CONNECTION, Embedded, interrupt, known_connection, tended
from rlhf_service.errors import RlhfError


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals as `main` sets them; put back afterwards."""
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in watched}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Service:
    """Something to tend that dies when told to."""

    def __init__(self) -> None:
        self.dead = threading.Event()
        self.looks = 0

    def tend(self) -> None:
        self.looks += 1
        if self.dead.is_set():
            raise RlhfError("the Ray cluster ended; see ray.log")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_the_next_leave_the_stopping_alone(handlers, number):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        threading.Event().wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_dead_cluster_ends_what_waits_for_it_and_is_named(handlers):
    service = Service()
    never = threading.Event()
    with pytest.raises(RlhfError, match="Ray cluster ended"), tended(service):
        service.dead.set()
        never.wait(30)
        pytest.fail("nothing interrupted the wait")


def test_a_users_interrupt_stays_one(handlers):
    with pytest.raises(KeyboardInterrupt), tended(Service()):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(10)


def test_tending_ends_with_what_it_was_for(handlers):
    service = Service()
    with tended(service):
        pass
    assert "tending" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("left", [None, "", '{"url', "[1]", "{}"])
def test_a_lost_connection_file_is_no_traceback_and_no_key(tmp_path: Path, left):
    if left is not None:
        (tmp_path / CONNECTION).write_text(left)
    assert known_connection(tmp_path) == {}
    with pytest.raises(RlhfError, match="has lost its API key"):
        _ = Embedded(tmp_path, 0, ()).api_key


def test_a_connection_file_is_read_back(tmp_path: Path):
    (tmp_path / CONNECTION).write_text(json.dumps({"url": "http://x", "api_key": "rlhf_k"}))
    assert Embedded(tmp_path, 0, ()).api_key == "rlhf_k"


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RlhfError, match="choose another with --folder"):
        Embedded(tmp_path / "file" / "state", 0, ()).__enter__()
