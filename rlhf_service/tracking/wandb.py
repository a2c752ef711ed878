"""One Weights & Biases run for a job, written offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import wandb

PROJECT = "rlhf-service"


class WandbRun:
    """Metrics `stage/figure` over `stage/step`. `wandb sync` uploads what was written offline."""

    def __init__(self, folder: Path, job: str, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=job,
            name=name,
            dir=str(folder),
            mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
            resume="allow",
            settings=wandb.Settings(silent=True, x_disable_stats=True, disable_git=True),
        )
        self._stages: set[str] = set()

    def figures(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        told = {f"{stage}/{name}": value for name, value in values.items()}
        self._run.log({f"{stage}/step": step, **told})

    def text(self, stage: str, step: int, name: str, text: str) -> None:
        self._run.log({f"{stage}/step": step, f"{stage}/{name}": wandb.Html(text_page(text))})

    def close(self) -> None:
        self._run.finish()
        # The run's file is flushed by wandb's own process, which outlives `finish`.
        wandb.teardown()


def text_page(text: str) -> str:
    """Text as HTML, taken literally."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<pre>{escaped}</pre>"
