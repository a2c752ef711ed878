"""The memory of a Kubernetes API: objects with resource versions, labels, owners and finalizers.

It refuses what KubeRay's schema or operator would, and lets go of objects only when nothing holds them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.helm.schemas import faults_of, operator_faults

Object = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

FINALIZER = "ray.io/rayjob-finalizer"
FOREGROUND = "foregroundDeletion"


@dataclass(slots=True)
class Refusal(Exception):
    """An answer of the API's that is no object."""

    code: int
    reason: str
    message: str


@dataclass(slots=True)
class FakeKubernetes:
    """What the API remembers, and what tests make it suffer."""

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
            self.store(key, made, "ADDED")
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
            self.store(key, found, "MODIFIED")
            self.collect()

    def patch(self, plural: str, namespace: str, name: str, change: Object) -> Object:
        key = (plural, namespace, name)
        with self.changed:
            if key not in self.objects:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            merged = merge(self.objects[key], change)
            self.store(key, merged, "MODIFIED")
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

    def _owned(self, owner: Object) -> bool:
        name = owner["metadata"]["name"]
        return any(
            ref["name"] == name
            for found in self.objects.values()
            for ref in found["metadata"].get("ownerReferences", [])
        )

    def collect(self) -> None:
        """Objects that are to be deleted and that nothing holds any more go."""
        for key, found in list(self.objects.items()):
            metadata = found["metadata"]
            if not metadata.get("deletionTimestamp"):
                continue
            if FOREGROUND in metadata.get("finalizers", []) and not self._owned(found):
                metadata["finalizers"].remove(FOREGROUND)
            if not metadata.get("finalizers"):
                self.store(key, found, "DELETED")

    def store(self, key: Key, found: Object, what: str) -> None:
        """Keep a change and tell it to watches. Under `changed`."""
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
