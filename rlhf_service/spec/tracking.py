"""Which experiment trackers a job feeds."""

from __future__ import annotations

from typing import Literal

TrackerKind = Literal["tensorboard", "mlflow", "wandb"]
"""tensorboard: files in the job's folder · mlflow: the store that MLFLOW_TRACKING_URI names where
jobs run, else one in the job's folder · wandb: offline, in the job's folder, unless WANDB_MODE says
otherwise."""
