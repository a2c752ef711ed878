"""A Kubernetes API for RayJobs in a real HTTP server, with an operator that does what tests say.

It keeps resource versions, lists by label in pages, streams watches, refuses what KubeRay's schema or
operator would, wants a valid token, and lets go of objects only when their finalizers are gone.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helm.schemas import faults_of, operator_faults

Object = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

FINALIZER = "ray.io/rayjob-finalizer"
FOREGROUND = "foregroundDeletion"
SCOPES = {"rayjobs", "rayclusters", "pods", "nodes"}


@dataclass(slots=True)
class Refusal(Exception):
    """An answer of the API's that is no object."""

    code: int
    reason: str
    message: str


@dataclass(slots=True)
class FakeKubernetes:
    """The API's memory and the operator's hands."""

    tokens: set[str] = field(default_factory=lambda: {"first-token"})
    url: str = ""
    objects: dict[Key, Object] = field(default_factory=dict)
    news: list[tuple[int, str, str, Object]] = field(default_factory=list)
    """(version, plural, type, object) of every change."""
    version: int = 100
    forgotten: int = 0
    """Versions up to this one can no longer be watched from."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    ailing: list[int | str] = field(default_factory=list)
    """What happens to the next requests instead: a status; or "late": carried out, then no answer."""
    unwilling: str = ""
    """Why nothing may be created, such as a quota or an admission webhook."""
    down: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)
    generation: int = 0
    """Watches opened under an earlier one are cut off."""

    # What the API does

    def create(self, plural: str, namespace: str, body: Object) -> Object:
        key = (plural, namespace, body["metadata"]["name"])
        with self.changed:
            if key in self.objects:
                raise Refusal(409, "AlreadyExists", f'{plural} "{key[2]}" already exists')
            if self.unwilling:
                raise Refusal(403, "Forbidden", self.unwilling)
            faults = faults_of(body) if plural.startswith("ray") else []
            faults += operator_faults(body) if plural == "rayjobs" and not faults else []
            if faults:
                raise Refusal(
                    422, "Invalid", f"{plural} {key[2]!r} is invalid: {'; '.join(faults)}"
                )
            made = copy.deepcopy(body)
            made["metadata"] |= {
                "namespace": namespace,
                "uid": f"uid-{self.version}",
                "creationTimestamp": now(),
            }
            if plural == "rayjobs":
                made["metadata"]["finalizers"] = [FINALIZER]
            self._store(key, made, "ADDED")
            return copy.deepcopy(made)

    def delete(self, plural: str, namespace: str, name: str, foreground: bool) -> None:
        key = (plural, namespace, name)
        with self.changed:
            found = self.objects.get(key)
            if found is None:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            metadata = found["metadata"]
            metadata.setdefault("deletionTimestamp", now())
            if foreground and self._owned(found):
                finalizers = metadata.setdefault("finalizers", [])
                finalizers += [FOREGROUND] if FOREGROUND not in finalizers else []
            self._store(key, found, "MODIFIED")
            self._collect()

    def patch(self, plural: str, namespace: str, name: str, change: Object) -> Object:
        key = (plural, namespace, name)
        with self.changed:
            if key not in self.objects:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            merged = merge(self.objects[key], change)
            self._store(key, merged, "MODIFIED")
            return merged

    def page(
        self, plural: str, namespace: str, labels: dict[str, str], limit: int, after: str
    ) -> Object:
        with self.changed:
            items = [
                copy.deepcopy(found)
                for (kind, where, name), found in sorted(self.objects.items())
                if kind == plural and where == namespace and name > after and carries(found, labels)
            ]
            shown = items[:limit]
            more = {"continue": shown[-1]["metadata"]["name"]} if len(items) > limit else {}
            return {"items": shown, "metadata": {"resourceVersion": str(self.version), **more}}

    def after(
        self, plural: str, since: int, labels: dict[str, str], generation: int
    ) -> Iterator[tuple[str, Object]]:
        """News as they come. Ends when watches are cut."""
        while True:
            with self.changed:
                if self.generation != generation or self.down:
                    return
                if since < self.forgotten:
                    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
                    yield "ERROR", status
                    return
                fresh = [n for n in self.news if n[0] > since]
                if not fresh:
                    self.changed.wait(timeout=1.0)
                    continue
            for version, kind, what, found in fresh:
                since = version
                if kind == plural and carries(found, labels):
                    yield what, found

    # What the operator, Kueue and the cluster do

    def rayjob(self, name: str) -> Object:
        [found] = [o for (kind, _, n), o in self.objects.items() if kind == "rayjobs" and n == name]
        return found

    def say(self, name: str, **status: object) -> None:
        """Change a RayJob's status."""
        with self.changed:
            found = copy.deepcopy(self.rayjob(name))
            found["status"] = {**found.get("status", {}), **status}
            self._store(("rayjobs", found["metadata"]["namespace"], name), found, "MODIFIED")

    def start(self, name: str, dashboard: str = "") -> None:
        """The cluster comes up, and the driver in it."""
        found = self.rayjob(name)
        cluster = f"{name}-abcde"
        spec = found["spec"]["rayClusterSpec"]
        place = found["metadata"]["namespace"]
        owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": "x"}
        labels = found["metadata"]["labels"]
        self._put("rayclusters", place, cluster, labels, owner)
        groups = [("head", 1, spec["headGroupSpec"])]
        groups += [(g["groupName"], g["replicas"], g) for g in spec["workerGroupSpecs"]]
        for group, count, made_of in groups:
            for index in range(count):
                own = {
                    **made_of["template"]["metadata"]["labels"],
                    "ray.io/cluster": cluster,
                    "ray.io/node-type": "head" if group == "head" else "worker",
                }
                by = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": cluster, "uid": "y"}
                self._put("pods", place, f"{cluster}-{group}-{index}", own, by)
        self.say(
            name,
            jobDeploymentStatus="Running",
            jobStatus="RUNNING",
            rayClusterName=cluster,
            dashboardURL=dashboard,
            jobId=found["spec"]["jobId"],
            startTime=now(),
        )

    def finish(self, name: str, job_status: str, ended: str = "") -> None:
        """The driver ends, and the deletion rules for `DeleteWorkers` do their work."""
        deployment = "Failed" if job_status == "FAILED" else "Complete"
        self.say(
            name,
            jobDeploymentStatus=deployment,
            jobStatus=job_status,
            endTime=ended or now(),
        )

    def take_pods(self, name: str, role: str = "") -> None:
        """Pods of a RayJob go: workers alone, or all of them and their cluster."""
        with self.changed:
            for key, found in list(self.objects.items()):
                labels = found["metadata"].get("labels", {})
                if labels.get("ray.io/cluster") != f"{name}-abcde":
                    continue
                if not role or labels["ray.io/node-type"] == role:
                    self._store(key, found, "DELETED")
            if not role:
                for key in [
                    k for k in self.objects if k[0] == "rayclusters" and k[2] == f"{name}-abcde"
                ]:
                    self._store(key, self.objects[key], "DELETED")
            self._collect()

    def release(self, name: str) -> None:
        """The operator has stopped the Ray job and takes its finalizer away."""
        with self.changed:
            found = self.rayjob(name)
            found["metadata"]["finalizers"].remove(FINALIZER)
            self._store(("rayjobs", found["metadata"]["namespace"], name), found, "MODIFIED")
            self._collect()

    def add_node(self, name: str, ready: str = "True", **allocatable: str) -> None:
        has = {
            key.replace("__", "/").replace("_", "."): value for key, value in allocatable.items()
        }
        body = {
            "metadata": {"name": name, "labels": {"pool": name.split("-")[0]}},
            "status": {"allocatable": has, "conditions": [{"type": "Ready", "status": ready}]},
        }
        with self.changed:
            self._store(("nodes", "", name), body, "ADDED")

    def cut_watches(self) -> None:
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    def forget(self) -> None:
        """Compact: whoever was not listening has to list again."""
        with self.changed:
            self.version += 1
            self.forgotten = self.version
            self.news.clear()

    def count(self, method: str, part: str) -> int:
        return sum(m == method and part in path for m, path in list(self.requests))

    def _put(
        self, plural: str, namespace: str, name: str, labels: dict[str, str], owner: Object
    ) -> None:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        body: Object = {"metadata": {**metadata, "ownerReferences": [owner]}, "status": {}}
        if plural == "pods":
            body["status"] = {"phase": "Running"}
        with self.changed:
            self._store((plural, namespace, name), body, "ADDED")

    def _owned(self, owner: Object) -> bool:
        name = owner["metadata"]["name"]
        return any(
            ref["name"] == name
            for found in self.objects.values()
            for ref in found["metadata"].get("ownerReferences", [])
        )

    def _collect(self) -> None:
        """Objects that are to be deleted and that nothing holds any more go."""
        for key, found in list(self.objects.items()):
            metadata = found["metadata"]
            if not metadata.get("deletionTimestamp"):
                continue
            if FOREGROUND in metadata.get("finalizers", []) and not self._owned(found):
                metadata["finalizers"].remove(FOREGROUND)
            if not metadata.get("finalizers"):
                self._store(key, found, "DELETED")

    def _store(self, key: Key, found: Object, what: str) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        if what == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = found
        self.news.append((self.version, key[0], what, copy.deepcopy(found)))
        self.changed.notify_all()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(base: Object, change: Object) -> Object:
    """A JSON merge patch."""
    merged = copy.deepcopy(base)
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def carries(found: Object, labels: dict[str, str]) -> bool:
    return labels.items() <= found["metadata"].get("labels", {}).items()


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
