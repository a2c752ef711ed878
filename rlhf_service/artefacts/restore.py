"""Brings back what a job's folder has lost."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from rlhf_service.artefacts.base import ArtefactStore
from rlhf_service.artefacts.mirror import DONE
from rlhf_service.manifest import MANIFEST, MARK, list_checkpoints
from rlhf_service.storage import JobFolder


def restore(folder: JobFolder, store: ArtefactStore) -> list[str]:
    """Finished stages, events, and of each stage the newest whole checkpoint, where the folder has
    none as new. Returns what came, for people.
    """
    there = store.sizes()
    came: list[str] = []
    for name in sorted(there):
        if name.startswith("events/") and not (folder.root / name).exists():
            store.fetch(name, folder.root / name)
    for name in sorted(there):
        if name.startswith("stages/") and name.endswith(f"/{DONE}"):
            if not (folder.root / name).exists():
                fetch_marked(folder, store, there, name)
                came.append(f"stage {name.split('/')[1]}")
    have: dict[str, int] = defaultdict(lambda: -1)
    for found in list_checkpoints(folder.checkpoints):
        if not found.fault:
            have[found.stage] = max(have[found.stage], found.step)
    for stage, (step, mark) in newest_whole(store, there).items():
        if step > have[stage] and not (folder.stage(stage) / DONE).exists():
            fetch_marked(folder, store, there, mark)
            came.append(f"checkpoint {mark.split('/')[1]}")
    return came


def newest_whole(store: ArtefactStore, there: dict[str, int]) -> dict[str, tuple[int, str]]:
    """Stage → step and MANIFEST's name of its newest checkpoint of which every file is there."""
    newest: dict[str, tuple[int, str]] = {}
    marks = [name for name in there if name.startswith("checkpoints/") and name.endswith(MANIFEST)]
    for mark in sorted(marks, key=step_of, reverse=True):
        stage, step = mark.split("/")[1].rpartition(MARK)[0], step_of(mark)
        if stage not in newest and is_whole(store, there, mark):
            newest[stage] = step, mark
    return newest


def step_of(mark: str) -> int:
    number = mark.split("/")[1].rpartition(MARK)[2]
    return int(number) if number.isdigit() else -1


def is_whole(store: ArtefactStore, there: dict[str, int], mark: str) -> bool:
    with tempfile.TemporaryDirectory() as name:
        store.fetch(mark, Path(name) / MANIFEST)
        try:
            files = dict(json.loads((Path(name) / MANIFEST).read_text(encoding="utf-8"))["files"])
        except (ValueError, KeyError, TypeError):
            return False
    base = mark.removesuffix(MANIFEST)
    return all(there.get(base + file) == size for file, size in files.items())


def fetch_marked(folder: JobFolder, store: ArtefactStore, there: dict[str, int], mark: str) -> None:
    """Everything beside a mark, then the mark."""
    base = mark.rpartition("/")[0] + "/"
    for name in sorted(there):
        if name.startswith(base) and name != mark:
            store.fetch(name, folder.root / name)
    store.fetch(mark, folder.root / mark)
