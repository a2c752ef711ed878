"""One MLflow run for a job, whatever restarts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from rlhf_service.storage import write_atomically

EXPERIMENT = "rlhf-service"
RUN = "run-id"
"""File that holds the run's id, so that a restarted learner goes on with it."""


class MlflowRun:
    """Metrics `stage/figure`, texts as artefacts."""

    def __init__(self, folder: Path, job: str, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"
        self._client = MlflowClient(tracking_uri=store)
        kept = folder / RUN
        if kept.exists():
            self._run = kept.read_text(encoding="utf-8")
            self._client.update_run(self._run, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(EXPERIMENT)
        # A remote server has a place of its own for artefacts; a database file has not.
        place = (folder / "artifacts").as_uri() if store.startswith("sqlite:") else None
        experiment = (
            self._client.create_experiment(EXPERIMENT, artifact_location=place)
            if found is None
            else found.experiment_id
        )
        run = self._client.create_run(experiment, run_name=name, tags={"rlhf.job": job})
        self._run = str(run.info.run_id)
        write_atomically(kept, self._run)

    def figures(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        metrics = [Metric(f"{stage}/{name}", value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def text(self, stage: str, step: int, name: str, text: str) -> None:
        self._client.log_text(self._run, text, f"{stage}/{name}-{step:06d}.md")

    def close(self) -> None:
        self._client.set_terminated(self._run)
