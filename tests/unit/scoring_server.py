"""A scoring service that misbehaves on request. Loopback only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


def scores(values: object) -> Answer:
    return 200, {}, json.dumps({"scores": values}).encode()


class ScoringServer:
    """Answers by `script`: one function of the request's JSON for each request, the last for ever."""

    def __init__(self, *script: Callable[[dict], Answer]) -> None:
        self.script = list(script)
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._now = self.most_at_once = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        """The server's URL."""
        ours = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                ours.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self.stop.set()
            server.shutdown()
            server.server_close()
            thread.join(5)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            status, headers, data = step(body)
        finally:
            with self._lock:
                self._now -= 1
        try:
            handler.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            pass  # the client has left
