"""The stream of a job through everything that happens to a long connection."""

from __future__ import annotations

import json

import httpx
import pytest

from rlhf_service.client import ApiError
from rlhf_service.client.frames import STREAM_FAILURES, Frames
from rlhf_service.events import Log
from tests.unit.clients import Asked, Either


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def either(request) -> Either:
    return Either(request.param)


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


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Some bytes, then a connection that is gone."""

    def __init__(self, *frames: str) -> None:
        self.frames = frames

    def __iter__(self):
        for text in self.frames:
            yield text.encode()
        raise httpx.ReadError("connection reset by peer")

    async def __aiter__(self):
        for part in iter(self):
            yield part


def heard(either: Either, asked: Asked, after: int = 0) -> list[int]:
    found = []
    for stored in either.do(asked, lambda client: client.jobs.stream("job-1", after)):
        assert isinstance(stored.event, Log) and stored.event.message == str(stored.seq)
        found.append(stored.seq)
    return found


def cursors(asked: Asked) -> list[str]:
    return [request.headers["last-event-id"] for request in asked.requests]


def test_every_kind_of_break_is_mended_without_gap_or_repeat(either):
    asked = Asked(
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
    assert heard(either, asked) == [1, 2, 3, 4, 5]
    assert cursors(asked) == ["0", "2", "2", "2", "2", "3", "4", "4"]


def test_after_a_reset_the_log_is_told_from_its_beginning_on_the_same_connection(either):
    asked = Asked([lambda: says(RESET, frame(1), frame(2), END)])
    assert heard(either, asked, after=70) == [1, 2]
    assert cursors(asked) == ["70"]


def test_a_break_right_after_a_reset_goes_on_where_the_log_now_begins(either):
    dropped = 'event: reset\ndata: {"first": 8, "last": 9}\n\n'
    broken = httpx.Response(200, stream=Broken(dropped))
    asked = Asked([lambda: broken, lambda: says(frame(8), frame(9), END)])
    assert heard(either, asked, after=3) == [8, 9]
    assert cursors(asked) == ["3", "7"]


@pytest.mark.parametrize(
    "reply", [lambda: httpx.ConnectError("refused"), lambda: says(), lambda: says(BEAT)]
)
def test_a_stream_that_never_says_anything_is_given_up(either, reply):
    asked = Asked([reply])
    with pytest.raises(ApiError, match="job-1 broke"):
        heard(either, asked)
    assert len(cursors(asked)) == STREAM_FAILURES + 1


def test_a_refusal_is_told_at_once(either):
    asked = Asked([lambda: httpx.Response(404, json={"detail": "there is no job"})])
    with pytest.raises(ApiError, match="there is no job") as refused:
        heard(either, asked)
    assert refused.value.status == 404
    assert len(cursors(asked)) == 1


def test_a_frame_may_have_several_lines_of_data():
    frames = Frames()
    lines = ["id: 1", "event: x", "data: a", "data:  b", ": beat", ""]
    found = [frame for line in lines if (frame := frames.take(line))]
    assert [(frame.event, frame.data) for frame in found] == [("x", "a\n b")]
