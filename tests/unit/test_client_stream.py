"""The stream of a job through everything that happens to a long connection."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from rlhf_service import client as module
from rlhf_service.client import ApiError, Client
from rlhf_service.events import Log

Reply = httpx.Response | Exception


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0,))


def frame(seq: int) -> str:
    event = {
        "seq": seq,
        "job_id": "job-1",
        "attempt": 1,
        "producer": "a1-driver",
        "producer_seq": seq,
        "created_at": "2026-01-01T00:00:00Z",
        "event": {"type": "log", "message": str(seq)},
    }
    return f"id: {seq}\nevent: log\ndata: {json.dumps(event)}\n\n"


END = 'event: end\ndata: {"status": "succeeded"}\n\n'
RECONNECT = 'event: reconnect\ndata: {"after": 0}\n\n'
RESET = 'event: reset\ndata: {"first": 1, "last": 2}\n\n'
BEAT = ": still here\n\n"


def says(*frames: str) -> httpx.Response:
    return httpx.Response(200, text="".join(frames))


class Broken(httpx.SyncByteStream):
    """Some bytes, then a connection that is gone."""

    def __init__(self, *frames: str) -> None:
        self.frames = frames

    def __iter__(self):
        for text in self.frames:
            yield text.encode()
        raise httpx.ReadError("connection reset by peer")


def client_of(replies: list[Callable[[], Reply]]) -> tuple[Client, list[str]]:
    """A client whose n-th request gets the n-th reply, and the cursors it asked with."""
    cursors: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        cursors.append(request.headers["last-event-id"])
        reply = replies[min(len(cursors), len(replies)) - 1]()
        if isinstance(reply, Exception):
            raise reply
        return reply

    client = Client("http://service", "key")
    client._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    return client, cursors


def heard(client: Client, after: int = 0) -> list[int]:
    found = []
    for stored in client.jobs.stream("job-1", after):
        assert isinstance(stored.event, Log) and stored.event.message == str(stored.seq)
        found.append(stored.seq)
    return found


def test_every_kind_of_break_is_mended_without_gap_or_repeat():
    client, cursors = client_of(
        [
            lambda: says(frame(1), BEAT, frame(2)),  # ended without `end`
            lambda: httpx.ConnectError("refused"),
            lambda: httpx.Response(503, text="starting"),
            lambda: httpx.Response(429),
            lambda: httpx.Response(200, stream=Broken(frame(3))),
            lambda: says(frame(4), RECONNECT),
            lambda: says(frame(5)[:-1]),  # cut before the frame is whole
            lambda: says(frame(5), END),
        ]
    )
    assert heard(client) == [1, 2, 3, 4, 5]
    assert cursors == ["0", "2", "2", "2", "2", "3", "4", "4"]


def test_after_a_reset_the_log_is_told_from_its_beginning_on_the_same_connection():
    client, cursors = client_of([lambda: says(RESET, frame(1), frame(2), END)])
    assert heard(client, after=70) == [1, 2]
    assert cursors == ["70"]


@pytest.mark.parametrize(
    "reply", [lambda: httpx.ConnectError("refused"), lambda: says(), lambda: says(BEAT)]
)
def test_a_stream_that_never_says_anything_is_given_up(reply):
    client, cursors = client_of([reply])
    with pytest.raises(ApiError, match="job-1 broke"):
        heard(client)
    assert len(cursors) == module.STREAM_FAILURES + 1


def test_a_refusal_is_told_at_once():
    client, cursors = client_of([lambda: httpx.Response(404, json={"detail": "there is no job"})])
    with pytest.raises(ApiError, match="there is no job") as refused:
        heard(client)
    assert refused.value.status == 404
    assert len(cursors) == 1
