"""The RayJobs of this control plane, as Kubernetes last said.

Consumes: the watch's news. Waits for: the API, at most a quiet watch's time. Unblocked by: news, the
watch's end, or a fault; then it watches again from where it was, or lists when that is too old.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping

from cluster.kuberay.api import RAYJOBS, Expired, KubernetesApi, Object
from rlhf_service.errors import LauncherError

log = logging.getLogger("rlhf.kuberay")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 15.0


class Mirror:
    """A thread that keeps every RayJob with these labels; `look` answers while it is up to date."""

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        labels: Mapping[str, str],
        on_contact: Callable[[Iterable[Object]], None],
    ) -> None:
        self._api, self._namespace, self._labels = api, namespace, labels
        self._on_contact = on_contact
        """Called with all of them whenever the watch was opened."""
        self._objects: dict[str, Object] = {}
        self._lock = threading.Lock()
        self._version = ""
        self._current = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._dice = random.Random()
        self.lists = 0
        """Times that everything was listed."""

    def start(self) -> None:
        """Begin, once; later calls do nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rayjobs", daemon=True)
                self._thread.start()

    def look(self, name: str) -> tuple[bool, Object | None]:
        """(whether that is what Kubernetes says now, the object)."""
        with self._lock:
            return self._current, self._objects.get(name)

    def add(self, found: Object) -> None:
        """What was just created; the watch may have told of it already, and of more."""
        with self._lock:
            self._objects.setdefault(found["metadata"]["name"], found)

    def close(self) -> None:
        """The thread ends with the next word of the server, or with the process."""
        self._stop.set()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                if not self._version:
                    self._list()
                self._follow()
                failures = 0
            except Expired:
                self._version = ""
            except LauncherError as fault:
                if self._current or not failures:
                    log.warning("RayJobs are not watched: %s", fault)
                failures = 0 if self._current else failures
                self._lost()
                # Not all control planes at once when the API comes back.
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures) * self._dice.uniform(0.5, 1)
                failures += 1
                self._stop.wait(pause)
            except Exception:
                log.exception("the watch on RayJobs broke; listing them again")
                self._lost()
                self._version = ""
                self._stop.wait(FIRST_PAUSE)

    def _lost(self) -> None:
        with self._lock:
            self._current = False

    def _list(self) -> None:
        items, version = self._api.list(RAYJOBS, self._namespace, self._labels)
        with self._lock:
            self._objects = {item["metadata"]["name"]: item for item in items}
            self._version = version
            self.lists += 1

    def _follow(self) -> None:
        for kind, found in self._api.watch(RAYJOBS, self._namespace, self._version, self._labels):
            if self._stop.is_set():
                return
            if kind == "OPEN":
                with self._lock:
                    self._current = True
                    everything = list(self._objects.values())
                self._on_contact(everything)
                continue
            with self._lock:
                metadata = found["metadata"]
                self._version = metadata["resourceVersion"]
                if kind == "DELETED":
                    self._objects.pop(metadata["name"], None)
                elif kind in ("ADDED", "MODIFIED"):
                    self._objects[metadata["name"]] = found
