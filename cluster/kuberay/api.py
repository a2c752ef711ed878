"""The Kubernetes API over httpx, as far as RayJobs need it: a service account, paths, faults.

The client libraries bring generated classes for every built-in kind and none for RayJob, whose
objects they pass as plain dicts too; what is left to do here is less than what they pull in.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from rlhf_service.errors import LauncherError, LauncherUnreachable

Object = dict[str, Any]

TIMEOUT = 8.0
PAGE = 500
WATCH_SECONDS = 240
"""How long the server keeps a watch open."""
QUIET_SECONDS = 90.0
"""A watch that says nothing for so long, bookmarks included, is taken for dead."""

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which it is not known, or not settled, whether the request was carried out."""


class Missing(LauncherError):
    """There is no such object."""


class AlreadyExists(LauncherError):
    """An object of this name is there."""


class Expired(LauncherError):
    """The resource version is too old to watch from; list again."""


class Credentials:
    """A service account's token, read again when its file changes; Kubernetes renews it hourly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def token(self) -> str:
        path = self._folder / "token"
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._token = path.read_text(encoding="utf-8").strip()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError as fault:
            raise LauncherUnreachable(
                f"no service account token at {path} ({fault.strerror}); mount one, or set "
                "`credentials` in RLHF_KUBERAY_FILE"
            ) from None
        return self._token

    def forget(self) -> None:
        """Read the file at the next call, whatever its date says."""
        self._seen = None

    def trust(self) -> ssl.SSLContext:
        """The cluster's own certificate authority, when it is there."""
        ca = self._folder / "ca.crt"
        return ssl.create_default_context(cafile=str(ca) if ca.exists() else None)


def server_of(configured: str) -> str:
    """URL of the API. Raises LauncherError outside a cluster that is not named."""
    if configured:
        return configured.rstrip("/")
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise LauncherError("not in a Kubernetes pod: set `api_server` in RLHF_KUBERAY_FILE")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource's place in the API."""

    group: str
    plural: str

    def path(self, namespace: str = "", name: str = "") -> str:
        parts = [f"apis/{self.group}" if "/" in self.group else f"api/{self.group}"]
        parts += [f"namespaces/{quote(namespace, safe='')}"] if namespace else []
        parts += [self.plural] + ([quote(name, safe="")] if name else [])
        return "/" + "/".join(parts)


RAYJOBS = Kind("ray.io/v1", "rayjobs")
RAYCLUSTERS = Kind("ray.io/v1", "rayclusters")
PODS = Kind("v1", "pods")
NODES = Kind("v1", "nodes")


class KubernetesApi:
    """Requests with the service account. Blocking and thread-safe; raises LauncherError."""

    def __init__(self, server: str, credentials: Credentials) -> None:
        self.server, self._credentials = server, credentials
        verify = credentials.trust() if server.startswith("https") else False
        self._client = httpx.Client(base_url=server, verify=verify, timeout=TIMEOUT)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            found: Object = self._ask("GET", kind.path(namespace, name)).json()
        except Missing:
            return None
        return found

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Raises AlreadyExists. Fields that the server does not know are refused, not dropped."""
        created: Object = self._ask(
            "POST", kind.path(namespace), body, {"fieldValidation": "Strict"}
        ).json()
        return created

    def patch(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """Merge; raises Missing."""
        changed: Object = self._ask("PATCH", kind.path(namespace, name), body).json()
        return changed

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """In the foreground: the object stays until what it owns is gone. Nothing when missing."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        try:
            self._ask("DELETE", kind.path(namespace, name), body)
        except Missing:
            return

    def list(
        self, kind: Kind, namespace: str, labels: Mapping[str, str]
    ) -> tuple[list[Object], str]:
        """Every object with these labels, and the version from which to watch."""
        query = {"limit": str(PAGE), "labelSelector": selector(labels)}
        items: list[Object] = []
        while True:
            page = self._ask("GET", kind.path(namespace), query=query).json()
            items += page["items"]
            more = page["metadata"].get("continue")
            if not more:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = more

    def watch(
        self, kind: Kind, namespace: str, version: str, labels: Mapping[str, str]
    ) -> Iterator[tuple[str, Object]]:
        """OPEN once, then ADDED, MODIFIED, DELETED or BOOKMARK with the object, until the server
        ends it. Raises Expired.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "labelSelector": selector(labels),
        }
        path = kind.path(namespace)
        timeout = httpx.Timeout(TIMEOUT, read=QUIET_SECONDS)
        with (
            translated(self.server, f"watch {path}"),
            self._client.stream(
                "GET", path, params=query, headers=self._headers(), timeout=timeout
            ) as reply,
        ):
            if reply.status_code >= 400:
                reply.read()
                if reply.status_code == 401:
                    self._credentials.forget()
                raise fault_of(reply, f"watch {path}")
            yield "OPEN", {}
            for line in reply.iter_lines():
                if not line:
                    continue
                said = json.loads(line)
                if said["type"] == "ERROR":
                    status = said["object"]
                    why = status.get("message", "the watch failed")
                    raise (Expired if status.get("code") == 410 else LauncherUnreachable)(why)
                yield said["type"], said["object"]

    def read(self, path: str, query: dict[str, str] | None = None) -> str:
        """Text at a path, such as a pod's log. Raises Missing."""
        return self._ask("GET", path, query=query).text

    def close(self) -> None:
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, str] | None = None,
    ) -> httpx.Response:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else json.dumps(body)
        with translated(self.server, f"{method} {path}"):
            for attempt in (1, 2):
                headers = self._headers() | {"content-type": kind}
                reply = self._client.request(
                    method, path, content=content, params=query, headers=headers
                )
                if reply.status_code != 401 or attempt == 2:
                    break
                # The token was renewed between reading it and sending it.
                self._credentials.forget()
            if reply.status_code >= 400:
                raise fault_of(reply, f"{method} {path}")
            return reply

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._credentials.token()}"}


def selector(labels: Mapping[str, str]) -> str:
    """All of these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def fault_of(reply: httpx.Response, what: str) -> LauncherError:
    """An answer of 400 or more as an error of ours."""
    try:
        status = reply.json()
        why, reason = status.get("message", ""), status.get("reason", "")
    except (ValueError, AttributeError):
        why, reason = reply.text.strip()[:300], ""
    code = reply.status_code
    said = f"Kubernetes answered {code} to {what}: {why or reply.reason_phrase}"
    if code == 404:
        return Missing(said)
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists(said)
    if code == 410:
        return Expired(said)
    if code == 401:
        return LauncherUnreachable(f"{said}; the service account's token is not accepted")
    if code in AGAIN or code == 409:
        return LauncherUnreachable(said)
    if code == 403 and reason == "Forbidden" and "quota" not in why:
        return LauncherError(f"{said}; give the service account this right (the chart's Role does)")
    return LauncherError(said)


@contextmanager
def translated(server: str, what: str) -> Iterator[None]:
    """Whatever goes wrong on the way as a LauncherError."""
    try:
        yield
    except httpx.HTTPError as fault:
        said = str(fault) or type(fault).__name__
        raise LauncherUnreachable(
            f"Kubernetes at {server} does not answer {what}: {said}"
        ) from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise LauncherUnreachable(
            f"Kubernetes at {server}: no sense in its answer: {fault!r}"
        ) from fault
