"""The Ray Jobs launcher: on a real cluster, and against dashboards that misbehave."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from cluster import launcher as module
from cluster.launcher import RayJobLauncher
from rlhf_service.errors import LauncherError
from rlhf_service.launching import LaunchRequest, LaunchState
from tests.integration.conftest import wait_until

SCRIPT = """#!{python}
import os, sys, time
print("arguments", sys.argv[1:], flush=True)
print("token", open(os.environ["RLHF_EVENTS_TOKEN_FILE"]).read(), flush=True)
import ray
ray.init(address="auto", namespace="test", log_to_driver=False)

@ray.remote(num_cpus=0)
class Held:
    def ping(self): return 1

group = ray.util.placement_group([{{"CPU": 0.01}}], name="rlhf/{job}/pools")
ray.get(group.ready())
named = Held.options(name="rlhf/{job}/rollout-0").remote()
plain = Held.remote()
stays = Held.options(name="rlhf/{job}/stays", lifetime="detached").remote()
kept = ray.util.placement_group([{{"CPU": 0.01}}], name="rlhf/{job}/kept", lifetime="detached")
ray.get([named.ping.remote(), plain.ping.remote(), stays.ping.remote(), kept.ready()])
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def launcher(service) -> RayJobLauncher:
    return RayJobLauncher(service.cluster.dashboard_url)


def request_for(folder: Path, attempt: int = 1) -> LaunchRequest:
    return LaunchRequest(
        job_id=folder.name,
        attempt=attempt,
        job_name="a name",
        storage=str(folder),
        events_url="http://127.0.0.1:1/events",
        events_token="a-secret",
        owner="us",
    )


def test_an_attempt_from_submission_to_nothing_left(service, launcher, tmp_path, monkeypatch):
    # A folder as people have them: Ray hands the command to a shell.
    folder = tmp_path / "it's a $(folder)" / f"job-{time.time_ns():x}"
    folder.mkdir(parents=True)
    program = tmp_path / "a python"
    program.write_text(SCRIPT.format(python=sys.executable, job=folder.name))
    program.chmod(0o755)
    launcher._python = str(program)
    attempt = request_for(folder)
    assert launcher.state(attempt.submission_id) is LaunchState.UNKNOWN
    assert launcher.leftovers(folder.name) == []

    launcher.submit(attempt)
    launcher.submit(attempt)  # the same attempt again: nothing happens
    wait_until(lambda: "up" in launcher.logs(attempt.submission_id).split(), 90, "the driver")
    assert launcher.state(attempt.submission_id) is LaunchState.RUNNING
    printed = launcher.logs(attempt.submission_id)
    words = ["-m", "cluster.driver", "--job", str(folder), "--attempt", "1"]
    assert f"arguments {words}" in printed
    assert "token a-secret" in printed

    token = folder / "attempt-1.token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert "a-secret" not in json.dumps(launcher._get("/api/jobs/"))
    for process in psutil.Process(service.cluster.pid).children(recursive=True):
        assert "a-secret" not in " ".join(process.cmdline())

    inventory = launcher.inventory()
    [mine] = [one for one in inventory.submissions if one.job_id == folder.name]
    assert (mine.attempt, mine.owner) == (1, "us")
    names = {"pools", "rollout-0", "stays", "kept"}
    assert {*inventory.parts[folder.name]} == {f"rlhf/{folder.name}/{name}" for name in names}

    left = launcher.leftovers(folder.name)
    assert f"rlhf/{folder.name}/pools" in left and f"rlhf/{folder.name}/rollout-0" in left
    assert any(name.startswith("Held ") for name in left), left  # found through its Ray job
    assert launcher.leftovers(folder.name[:-1]) == []  # a prefix of an id is another job

    # What other jobs left dead does not count against the limit; what is cut off does.
    [ray_job] = {a["job_id"] for a in launcher._rows("actors") if a["class_name"] == "Held"}
    everyone, mine = (
        len(launcher._rows("actors")),
        len(launcher._rows("actors", job_id=ray_job)),
    )
    monkeypatch.setattr(module, "LIMIT", mine)
    assert len(launcher._rows("actors", job_id=ray_job)) == mine < everyone
    monkeypatch.setattr(module, "LIMIT", mine - 1)
    with pytest.raises(LauncherError, match=f"lists only {mine - 1} of"):
        launcher.leftovers(folder.name)
    monkeypatch.undo()

    launcher.stop(attempt.submission_id)
    wait_until(
        lambda: launcher.state(attempt.submission_id) is LaunchState.ENDED, 60, "the driver's end"
    )
    detached = [f"rlhf/{folder.name}/kept", f"rlhf/{folder.name}/stays"]
    wait_until(lambda: launcher.leftovers(folder.name) == detached, 60, "the end of the rest")
    assert {*launcher.inventory().parts[folder.name]} == {*detached}
    launcher._python = sys.executable  # the broom is no driver
    launcher.remove(folder.name)
    launcher.remove(folder.name)  # at it already
    wait_until(lambda: launcher.leftovers(folder.name) == [], 90, "the broom")
    assert folder.name not in launcher.inventory().parts
    launcher.stop(attempt.submission_id)  # already gone: nothing happens
    launcher.stop("job-unheard-of-a1")


@pytest.fixture
def mute():
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


CALLS = [
    lambda launcher, request: launcher.submit(request),
    lambda launcher, request: launcher.stop(request.submission_id),
    lambda launcher, request: launcher.state(request.submission_id),
    lambda launcher, request: launcher.leftovers(request.job_id),
    lambda launcher, request: launcher.logs(request.submission_id),
    lambda launcher, request: launcher.capacity(),
    lambda launcher, request: launcher.remove(request.job_id),
    lambda launcher, request: launcher.inventory(),
]
NAMES = ["submit", "stop", "state", "leftovers", "logs", "capacity", "remove", "inventory"]


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_dashboard_that_hangs_is_given_up(mute, tmp_path, monkeypatch, call):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call(RayJobLauncher(mute), request_for(tmp_path))
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert isinstance(raised[0], LauncherError) and mute in str(raised[0])


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_wrong_token_is_a_launcher_error(service, tmp_path, monkeypatch, call):
    """The control plane must hear of it as of any other cluster that does not take orders."""
    real = requests.request

    def with_wrong_token(method: str, url: str, **options: Any) -> requests.Response:
        return real(method, url, **(options | {"headers": {"Authorization": "Bearer wrong"}}))

    monkeypatch.setattr(requests, "request", with_wrong_token)
    with pytest.raises(LauncherError, match=r"refused: Auth|answered 40[13]"):
        call(RayJobLauncher(service.cluster.dashboard_url), request_for(tmp_path))


@pytest.fixture
def hangs_after_greeting():
    """Answers the version check, then nothing: a client that is connected meets it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/api/version":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"ray_version": "2.60.0", "ray_commit": "x", "version": "4"}')
            else:
                over.wait(30)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return None

    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_dashboard_that_begins_to_hang_is_given_up(
    hangs_after_greeting, tmp_path, monkeypatch, call
):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call(RayJobLauncher(hangs_after_greeting), request_for(tmp_path))
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert isinstance(raised[0], LauncherError)


def test_nobody_there_is_a_launcher_error():
    with pytest.raises(LauncherError, match=r"127\.0\.0\.1:1 does not answer"):
        RayJobLauncher("http://127.0.0.1:1").capacity()
