"""Event files and the forwarder, against a real HTTP server."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.replay import next_life, reported_steps
from cluster.sinks import Forwarder, JsonlSink, mend
from rlhf_service.errors import StorageError
from rlhf_service.events import Log, StepCompleted
from rlhf_service.reports import SupervisedReport
from rlhf_service.storage import JobFolder


class Inbox:
    """A control plane that may be down, and remembers what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, int]] = []
        self.refusals = 0
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if inbox.refusals:
                    inbox.refusals -= 1
                    self.send_response(503)
                else:
                    inbox.got += [(e["producer"], e["producer_seq"]) for e in body["events"]]
                    self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/events"


@pytest.fixture
def inbox():
    found = Inbox()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def test_everything_arrives_in_order_though_the_control_plane_was_down(folder, inbox):
    inbox.refusals = 3
    sink = JsonlSink(folder, "job-1", 1, "a1-driver")
    earlier = JsonlSink(folder, "job-1", 1, "a1-learner-1-0")
    for i in range(20):
        sink.emit(Log(message=str(i)))
        earlier.emit(Log(message=str(i)))
    JsonlSink(folder, "job-1", 11, "a11-driver").emit(Log(message="another attempt's"))
    forwarder = Forwarder(folder, inbox.url, 1, "token")
    forwarder.start()
    assert forwarder.drain(20)
    sink.emit(Log(message="late"))
    assert forwarder.drain(20)
    forwarder.close()
    for producer, count in (("a1-driver", 21), ("a1-learner-1-0", 20)):
        assert [seq for name, seq in inbox.got if name == producer] == list(range(1, count + 1))
    assert {name for name, _ in inbox.got} == {"a1-driver", "a1-learner-1-0"}


def test_a_torn_line_is_cut_off_and_never_sent(folder, inbox):
    sink = JsonlSink(folder, "job-1", 1, "a1-driver")
    sink.emit(Log(message="whole"))
    path = folder.events / "a1-driver.jsonl"
    with path.open("a") as out:
        out.write('{"torn": ')
    forwarder = Forwarder(folder, inbox.url, 1, "token")
    forwarder.start()
    assert forwarder.drain(20)
    assert inbox.got == [("a1-driver", 1)]
    assert mend(path) == 1
    JsonlSink(folder, "job-1", 1, "a1-driver").emit(Log(message="next"))
    assert forwarder.drain(20)
    forwarder.close()
    assert inbox.got == [("a1-driver", 1), ("a1-driver", 2)]


def test_a_full_disk_is_a_storage_error_with_a_remedy(folder):
    sink = JsonlSink(folder, "job-1", 1, "a1-driver")
    sink._path = Path("/dev/full")
    sink._out = sink._path.open("ab", buffering=0)
    with pytest.raises(StorageError, match="free some space"):
        sink.emit(Log(message="x"))
    with suppress(OSError):  # closing tries to write what could not be written
        sink._out.close()


def test_lives_and_reported_steps_are_read_from_the_files(folder):
    assert next_life(folder, 1) == 1
    sink = JsonlSink(folder, "job-1", 1, "a1-learner-1-0")
    report = SupervisedReport(
        loss=1, tokens=1, grad_norm=1, learning_rate=1, seconds=1, tokens_per_second=1
    )
    for step in (1, 2, 3):
        sink.emit(StepCompleted(stage="sft", step=step, steps=9, report=report))
    assert next_life(folder, 1) == 2
    assert next_life(folder, 2) == 1
    assert reported_steps(folder) == {"sft": 3}
