"""What a job takes over from the one that it goes on from."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rlhf_service.manifest import list_checkpoints
from rlhf_service.spec import JobSpec
from rlhf_service.storage import JobFolder


@dataclass(frozen=True, slots=True)
class Inherited:
    """Where the new job goes on."""

    stages: tuple[str, ...]
    """Complete already."""
    checkpoint: str | None
    """Of the stage that was not."""

    def __str__(self) -> str:
        done = f"stages {', '.join(self.stages)} are done" if self.stages else ""
        resumed = f"resumes from checkpoint {self.checkpoint}" if self.checkpoint else ""
        return "; ".join(part for part in (done, resumed) if part) or "begins at the start"


def inherit(old: JobFolder, new: JobFolder, spec: JobSpec) -> Inherited:
    """Finished stages and the newest whole checkpoint of the next one.

    Files are shared by hard links: nothing of what is linked is ever written to again, and either
    job may be deleted without the other noticing.
    """
    done = []
    for stage in spec.stages:
        if not (old.stage(stage.name) / "done.json").is_file():
            break
        shutil.copytree(old.stage(stage.name), new.stage(stage.name), copy_function=link)
        done.append(stage.name)
    rest = [stage.name for stage in spec.stages[len(done) :]]
    if not rest:
        return Inherited(tuple(done), None)
    tokenizer = old.tokenizer(rest[0])
    if tokenizer.is_dir():  # may be written again; so it is a copy
        shutil.copytree(tokenizer, new.tokenizer(rest[0]))
    saved = [item for item in list_checkpoints(old.checkpoints) if item.fault is None]
    newest = max(
        (item for item in saved if item.stage == rest[0]), key=lambda item: item.step, default=None
    )
    if newest is None:
        return Inherited(tuple(done), None)
    shutil.copytree(
        old.checkpoints / newest.name, new.checkpoints / newest.name, copy_function=link
    )
    return Inherited(tuple(done), newest.name)


def link(source: str, target: str) -> str:
    """A hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, Path(target))
    return target
