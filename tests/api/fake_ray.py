"""A Ray dashboard's Jobs and state API over HTTP, with nothing behind it.

It outlives the control planes under test, as a cluster does, and the real RayJobLauncher speaks to
it. Drivers are only noted: one runs until the test ends it, or until its job's stop flag is seen.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rlhf_service.storage import JobFolder, write_atomically

LIVE = ("PENDING", "RUNNING")


@dataclass(slots=True)
class RayJob:
    """One submission."""

    submission_id: str
    metadata: dict[str, str]
    folder: JobFolder | None
    status: str = "RUNNING"

    def shown(self) -> dict[str, Any]:
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": self.submission_id,
            "status": self.status,
            "entrypoint": "",
            "metadata": self.metadata,
        }


@dataclass(slots=True)
class FakeRay:
    """The cluster as the test sees it."""

    url: str = ""
    cpus: float = 4.0
    jobs: dict[str, RayJob] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    """Submissions that were accepted, in order; one asked for again is not."""
    asked: list[str] = field(default_factory=list)
    """Submissions that were asked for."""
    at_once: int = 0
    """The most drivers of one job that ever lived side by side."""
    obeys: bool = True
    """Drivers end when they see their job's stop flag."""
    cut_off: bool = False
    """Nothing gets through: calls wait until the caller gives up."""
    took: Callable[[str], None] | None = None
    """Called when a submission was accepted, before the answer is sent."""
    actors: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    # What the test does and sees

    def live(self, job_id: str | None = None) -> list[str]:
        """Submissions whose driver lives."""
        with self.lock:
            for job in self.jobs.values():
                flagged = job.folder is not None and job.folder.stop_flag.exists()
                if self.obeys and flagged and job.status in LIVE:
                    job.status = "FAILED"
            mine = [j for j in self.jobs.values() if job_id in (None, j.metadata.get("rlhf_job"))]
            return [job.submission_id for job in mine if job.status in LIVE]

    def succeed(self, submission_id: str) -> None:
        """The driver writes the completion record and exits."""
        folder = self.jobs[submission_id].folder
        assert folder is not None
        write_atomically(folder.result, json.dumps({"job_id": folder.root.name}))
        self.jobs[submission_id].status = "SUCCEEDED"

    def crash(self, submission_id: str) -> None:
        self.jobs[submission_id].status = "FAILED"

    def restart_empty(self) -> None:
        """The head is lost with all it knew; another takes its place."""
        with self.lock:
            self.jobs.clear()
            self.actors.clear()

    # The API

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.live()  # drivers that were to stop have
        with self.lock:
            if path == "/api/version":
                return 200, {"ray_version": "2.60.0", "ray_commit": "x", "version": "4"}
            if path == "/api/jobs/":
                return self._submit(body) if method == "POST" else (200, self._every())
            if found := re.fullmatch(r"/api/jobs/([^/]+)(/stop|/logs)?", path):
                job, verb = self.jobs.get(found[1]), found[2]
                if job is None:
                    return 404, "no such job"
                if verb == "/stop":
                    job.status = "STOPPED"
                    return 200, {"stopped": True}
                return 200, {"logs": "the driver's log"} if verb else job.shown()
            if path == "/api/v0/nodes":
                return self._rows([{"state": "ALIVE", "resources_total": {"CPU": self.cpus}}])
            if path == "/api/v0/actors":
                return self._rows(self.actors)
            return self._rows([])

    def _submit(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["submission_id"]
        self.asked.append(name)
        if name in self.jobs:
            return 500, f"Job with submission_id {name} already exists."
        words = shlex.split(body["entrypoint"])
        folder = None
        if "cluster.broom" in words:
            ids = {word.removeprefix("--actor=") for word in words}
            self.actors = [a for a in self.actors if a["actor_id"] not in ids]
        else:
            folder = JobFolder(Path(words[words.index("--job") + 1]))
        self.taken.append(name)
        self.jobs[name] = RayJob(name, body["metadata"], folder)
        if folder is None:
            self.jobs[name].status = "SUCCEEDED"
        self.at_once = max([self.at_once, len(self.live(folder.root.name if folder else ""))])
        if self.took is not None:
            self.took(name)
        return 200, {"job_id": name, "submission_id": name}

    def _every(self) -> list[dict[str, Any]]:
        return [job.shown() for job in self.jobs.values()]

    def _rows(self, rows: list[dict[str, Any]]) -> tuple[int, Any]:
        counts = {"total": len(rows), "num_after_truncation": len(rows), "num_filtered": len(rows)}
        found = {"result": rows, "partial_failure_warning": "", **counts}
        return 200, {"result": True, "data": {"result": found}}


@contextmanager
def fake_ray() -> Iterator[FakeRay]:
    """A cluster on a free port of the loopback, in threads."""
    ray, over = FakeRay(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            while ray.cut_off and not over.is_set():
                time.sleep(0.02)
            status, found = ray.answer(self.command, self.path.split("?")[0], body)
            text = (found if isinstance(found, str) else json.dumps(found)).encode()
            try:
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                self.close_connection = True  # the caller gave up, or was killed

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ray.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield ray
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
