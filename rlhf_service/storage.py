"""Where a job keeps its files. See "Storage" in ARCHITECTURE.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def events(self) -> Path:
        """One `<producer>.jsonl` for each producer."""
        return self.root / "events"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint_model(self, name: str) -> Path:
        """A checkpoint's policy as a Hugging Face folder, once somebody asked for it."""
        return self.root / "checkpoint-models" / name

    @property
    def stop_flag(self) -> Path:
        """Exists when the learner should checkpoint and stop at the next step."""
        return self.root / "stop"

    def outcome(self, attempt: int) -> Path:
        """How the learners' part of an attempt ended; absent while it runs, or when it died."""
        return self.root / f"outcome-a{attempt}.json"

    def driver_log(self, attempt: int) -> Path:
        """What an attempt's driver logged; it outlives the cluster."""
        return self.root / f"driver-a{attempt}.log"

    def token(self, attempt: int) -> Path:
        """What an attempt's driver shows to the control plane; written before it is submitted."""
        return self.root / f"attempt-{attempt}.token"

    def leaving(self, attempt: int) -> Path:
        """Exists when a machine of the attempt was to be vacated by plan: its end is no death."""
        return self.root / f"leaving-a{attempt}"

    def vitals(self, attempt: int) -> Path:
        """Signs of life of an attempt's processes."""
        return self.root / "vitals" / f"a{attempt}"

    @property
    def faults(self) -> Path:
        """One line for each unexpected exception of a learner."""
        return self.root / "faults.jsonl"

    @property
    def quarantine(self) -> Path:
        """Evidence of responses that could not be scored, one a line."""
        return self.root / "quarantine.jsonl"

    @property
    def result(self) -> Path:
        """The completion record, written last; its presence means success."""
        return self.root / "result.json"

    @property
    def bundles(self) -> Path:
        """Steps kept whole."""
        return self.root / "bundles"

    @property
    def tracking(self) -> Path:
        """Files of experiment trackers, one folder for each."""
        return self.root / "tracking"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    def stage(self, name: str) -> Path:
        return self.root / "stages" / name

    def tokenizer(self, name: str) -> Path:
        """The tokenizer that a stage trained for a network from scratch."""
        return self.stage(name) / "tokenizer"

    def stage_model(self, name: str) -> Path:
        return self.stage(name) / "model"

    def adapter(self, name: str) -> Path:
        """A stage's low-rank adapter in PEFT's format, when it trained one."""
        return self.stage(name) / "adapter"

    @property
    def model(self) -> Path:
        """The last stage's model: what the job is for."""
        return self.root / "model"


def write_atomically(path: Path, text: str) -> None:
    """Write so that a reader, or a crash, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with partial.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; it replaces an older one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    partial.replace(path)
