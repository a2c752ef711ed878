"""The fake Kubernetes API in a real HTTP server: valid tokens, label selectors, pages, watches."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.kuberay.objects import FakeKubernetes, Object, Refusal

SCOPES = {"rayjobs", "rayclusters", "pods", "nodes"}


def handler_of(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PATCH = do_DELETE = do_GET

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            with fake.changed:
                fake.requests.append((self.command, self.path))
                ailment = None if "watch=1" in self.path or not fake.ailing else fake.ailing.pop(0)
            if fake.down:
                self.close_connection = True
                return
            try:
                if isinstance(ailment, int):
                    raise Refusal(ailment, "InternalError", "etcd is unwell")
                self._require_token()
                answer = self._answer(body)
            except Refusal as refusal:
                self._send(refusal.code, status_of(refusal))
                return
            if ailment == "late":
                self.close_connection = True
            elif answer is not None:
                self._send(201 if self.command == "POST" else 200, answer)

        def _require_token(self) -> None:
            kind, _, token = self.headers.get("authorization", "").partition(" ")
            if kind != "Bearer" or token not in fake.tokens:
                raise Refusal(401, "Unauthorized", "Unauthorized")

        def _answer(self, body: Object) -> Object | None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            parts = url.path.strip("/").split("/")
            parts = parts[3:] if parts[0] == "apis" else parts[2:]
            namespace = ""
            if parts[0] == "namespaces":
                namespace, parts = parts[1], parts[2:]
            plural, name = parts[0], (parts[1] if len(parts) > 1 else "")
            if plural not in SCOPES:
                raise Refusal(404, "NotFound", "the server could not find the requested resource")
            chosen = query.get("labelSelector", "")
            labels = dict(pair.split("=", 1) for pair in chosen.split(",") if pair)
            match self.command:
                case "POST":
                    if query.get("fieldValidation") != "Strict":
                        raise Refusal(400, "BadRequest", "unknown fields would be dropped")
                    return fake.create(plural, namespace, body)
                case "PATCH":
                    if self.headers["content-type"] != "application/merge-patch+json":
                        raise Refusal(415, "UnsupportedMediaType", "not a merge patch")
                    return fake.patch(plural, namespace, name, body)
                case "DELETE":
                    foreground = body.get("propagationPolicy") == "Foreground"
                    fake.delete(plural, namespace, name, foreground)
                    return {"kind": "Status", "status": "Success"}
            if name:
                found = fake.objects.get((plural, namespace, name))
                if found is None:
                    raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
                return copy.deepcopy(found)
            if query.get("watch"):
                self._stream(plural, int(query["resourceVersion"]), labels)
                return None
            limit = int(query.get("limit", 10_000))
            return fake.page(plural, namespace, labels, limit, query.get("continue", ""))

        def _stream(self, plural: str, since: int, labels: dict[str, str]) -> None:
            generation = fake.generation
            if since < fake.forgotten:
                raise Refusal(410, "Expired", "too old resource version")
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for what, found in fake.after(plural, since, labels, generation):
                    self._chunk(json.dumps({"type": what, "object": found}).encode() + b"\n")
                self._chunk(b"")
            except OSError:
                self.close_connection = True

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def _send(self, code: int, answer: Object) -> None:
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    return Handler


def status_of(refusal: Refusal) -> Object:
    return {
        "kind": "Status",
        "status": "Failure",
        "code": refusal.code,
        "reason": refusal.reason,
        "message": refusal.message,
    }


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients hang up now and then."""


@contextmanager
def serving(fake: FakeKubernetes) -> Iterator[FakeKubernetes]:
    """The fake behind a port on loopback."""
    server = QuietServer(("127.0.0.1", 0), handler_of(fake))
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        fake.down = True
        fake.cut_watches()
        server.shutdown()
        server.server_close()
