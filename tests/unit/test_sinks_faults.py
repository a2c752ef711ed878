"""Event files on a full or garbled disk, and what `drain` promises."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cluster.sinks import Forwarder, JsonlSink
from rlhf_service.errors import StorageError
from rlhf_service.events import EventRecord, Log
from rlhf_service.storage import JobFolder

PRODUCER = "a1-driver"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


@pytest.fixture
def got() -> list[tuple[int, str]]:
    """What the control plane received: (producer_seq, message)."""
    return []


def heard_by(folder: JobFolder, got: list[tuple[int, str]]) -> Forwarder:
    """Not started yet; what it posts is in `got`."""

    def take(request: httpx.Request) -> httpx.Response:
        for event in json.loads(request.content)["events"]:
            got.append((event["producer_seq"], event["event"]["message"]))
        return httpx.Response(200, json={})

    made = Forwarder(folder, "http://control/events", 1, "token")
    made._client = httpx.Client(transport=httpx.MockTransport(take))
    return made


@pytest.fixture
def forwarder(folder: JobFolder, got: list[tuple[int, str]]) -> Iterator[Forwarder]:
    made = heard_by(folder, got)
    made.start()
    yield made
    made.close()


@contextmanager
def room_for(path: Path, more: int) -> Iterator[None]:
    """Let files grow only `more` bytes beyond the present size of `path`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def records(path: Path) -> list[tuple[int, str]]:
    found = [EventRecord.model_validate_json(line) for line in path.read_text().splitlines()]
    return [(r.producer_seq, r.event.message) for r in found if isinstance(r.event, Log)]


@pytest.mark.parametrize("more", [0, 10, 100])
def test_an_event_that_did_not_fit_leaves_no_trace_and_takes_no_number(folder, more):
    sink = JsonlSink(folder, "job-1", 1, PRODUCER)
    sink.emit(Log(message="one"))
    path = folder.events / f"{PRODUCER}.jsonl"
    with room_for(path, more), pytest.raises(StorageError, match="free some space"):
        sink.emit(Log(message="lost"))
    sink.emit(Log(message="two"))
    assert records(path) == [(1, "one"), (2, "two")]


def test_threads_share_a_sink_without_mixing_lines(folder):
    sink = JsonlSink(folder, "job-1", 1, PRODUCER)

    def write(name: int) -> None:
        for i in range(25):
            sink.emit(Log(message=f"{name}-{i}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records(folder.events / f"{PRODUCER}.jsonl")
    assert [seq for seq, _ in found] == list(range(1, 101))
    assert {message for _, message in found} == {f"{n}-{i}" for n in range(4) for i in range(25)}


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "events").write_text("a file is in the way")
    with pytest.raises(StorageError, match="events"):
        JsonlSink(JobFolder(tmp_path), "job-1", 1, PRODUCER)


def test_a_garbled_line_holds_up_nothing(folder, forwarder, got):
    folder.events.mkdir(parents=True)
    (folder.events / "a1-old.jsonl").write_bytes(b"\0\0\0\n\xff\xfe\n")
    JsonlSink(folder, "job-1", 1, PRODUCER).emit(Log(message="one"))
    assert forwarder.drain(10)
    assert got == [(1, "one")]


def test_drain_means_that_what_was_written_before_it_has_arrived(folder, forwarder, got):
    """A pass that looked at the files just before the event must not count as the last one."""
    sink = JsonlSink(folder, "job-1", 1, PRODUCER)
    looked, go_on = threading.Event(), threading.Event()
    one_pass = forwarder._pass

    def slow_pass() -> bool:
        posted = one_pass()
        if not posted and not go_on.is_set():
            looked.set()
            go_on.wait(10)
        return posted

    forwarder._pass = slow_pass
    assert looked.wait(10)
    sink.emit(Log(message="last word"))
    waiting = threading.Thread(target=lambda: results.append(forwarder.drain(10)))
    results: list[bool] = []
    waiting.start()
    while not forwarder_is_waited_for(forwarder):
        pass
    go_on.set()
    waiting.join()
    assert results == [True]
    assert got == [(1, "last word")]


def forwarder_is_waited_for(forwarder: Forwarder) -> bool:
    """Whether `drain` has cleared the idle flag and waits on it."""
    return bool(forwarder._idle._cond._waiters)  # type: ignore[attr-defined]


def test_drain_gives_up_at_its_deadline(folder):
    JsonlSink(folder, "job-1", 1, PRODUCER).emit(Log(message="one"))
    forwarder = Forwarder(folder, "http://control/events", 1, "token")
    down = httpx.MockTransport(lambda request: httpx.Response(503))
    forwarder._client = httpx.Client(transport=down)
    forwarder.start()
    assert not forwarder.drain(0.5)
    forwarder.close()
