"""Keeps copies of what a job leaves in its folder: what is whole, and its mark of wholeness last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rlhf_service.artefacts.base import ArtefactStore
from rlhf_service.manifest import MANIFEST, MARK, list_checkpoints
from rlhf_service.storage import JobFolder

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LOGS_SECONDS = 15.0
"""Between two copies of files that grow."""
PAUSES = (5.0, 15.0, 60.0)
"""Seconds before the next try after a failure."""
DONE = "done.json"
GROWING = ("events", "tracking", "evaluation", "bundles")
SINGLE = ("spec.json", "faults.jsonl", "quarantine.jsonl")


class Mirror:
    """Consumes the job's folder; waits for the store; unblocked by `close`, which waits for a bounded
    time. A store that fails is told once in a row by `complain` and holds up nothing.
    """

    def __init__(
        self, folder: JobFolder, store: ArtefactStore, complain: Callable[[str], None]
    ) -> None:
        self._folder, self._store, self._complain = folder, store, complain
        self._there: dict[str, int] | None = None
        """Name → bytes of what the store has; None before it was asked."""
        self._logs_at = -LOGS_SECONDS
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._failed = False

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> bool:
        """Copy what is left. False, with a complaint, when that took longer or failed."""
        self._over.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._complain(f"not every artefact was copied within {seconds:g} s")
        return not self._thread.is_alive() and not self._failed

    def _run(self) -> None:
        failures = 0
        while True:
            last = self._over.is_set()
            try:
                self.copy(everything=last)
                failures, self._failed = 0, False
            except Exception as fault:
                log.exception("artefacts are not copied")
                if not self._failed:
                    self._complain(f"artefacts are not copied for now: {fault}")
                self._failed, failures = True, failures + 1
            if last:
                return
            pause = PAUSES[min(failures, len(PAUSES)) - 1] if failures else LOOK_SECONDS
            self._over.wait(pause)

    def copy(self, everything: bool = True) -> None:
        """One pass over the folder; files that still grow only now and then, or with `everything`.

        A folder that was taken away is no original: its copies stay as they are.
        """
        if not self._folder.spec.exists():
            return
        if self._there is None:
            self._there = self._store.sizes()
        for mark in sorted(self._folder.root.glob(f"stages/*/{DONE}")):
            self._copy_marked(mark)
        self._copy_checkpoints()
        if everything or time.monotonic() - self._logs_at > LOGS_SECONDS:
            self._logs_at = time.monotonic()
            for name in (*GROWING, *SINGLE):
                for file in files_of(self._folder.root / name):
                    self._put(file)
        if self._folder.result.exists():
            for file in files_of(self._folder.model):
                self._put(file)
            self._put(self._folder.result)

    def _copy_checkpoints(self) -> None:
        valid = [found for found in list_checkpoints(self._folder.checkpoints) if not found.fault]
        for found in reversed(valid):  # the newest last, as they came
            self._copy_marked(self._folder.checkpoints / found.name / MANIFEST)
        assert self._there is not None
        kept = {found.name for found in valid}
        # A folder may be taken away meanwhile: an older copy goes once a newer one is whole.
        newest: dict[str, int] = {}
        for found in valid:
            if f"checkpoints/{found.name}/{MANIFEST}" in self._there:
                newest[found.stage] = max(found.step, newest.get(found.stage, -1))
        for name in sorted(self._there, key=lambda name: not name.endswith(f"/{MANIFEST}")):
            kind, _, rest = name.partition("/")
            checkpoint = rest.partition("/")[0]
            if kind == "checkpoints" and checkpoint not in kept:
                stage, _, step = checkpoint.rpartition(MARK)
                if step.isdigit() and int(step) < newest.get(stage, -1):
                    self._store.delete(name)
                    del self._there[name]

    def _copy_marked(self, mark: Path) -> None:
        """A folder that is whole because its mark stands, and is whole there because it does."""
        if self._has(mark):
            return
        try:
            for file in files_of(mark.parent):
                if file != mark:
                    self._put(file)
            self._put(mark)
        except FileNotFoundError:
            if mark.exists():
                raise
            # It was deleted to make room; without its mark it counts for nothing there either.

    def _put(self, file: Path) -> None:
        if not self._has(file):
            name, size = self._name(file), file.stat().st_size
            self._store.put(name, file)
            assert self._there is not None
            self._there[name] = size

    def _has(self, file: Path) -> bool:
        assert self._there is not None
        return self._there.get(self._name(file)) == file.stat().st_size

    def _name(self, file: Path) -> str:
        return file.relative_to(self._folder.root).as_posix()


def files_of(path: Path) -> Iterator[Path]:
    """The file itself, or every file below; hidden ones are still being written."""
    if path.is_file():
        yield path
    for file in sorted(path.rglob("*")):
        if file.is_file() and not any(
            part.startswith(".") for part in file.relative_to(path).parts
        ):
            yield file
