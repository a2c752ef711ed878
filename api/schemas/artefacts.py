"""What a job leaves in storage, as answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from api.schemas.base import View


class CheckpointView(View):
    """A checkpoint of a job."""

    id: str
    """`<stage>-step-<number>`; its files lie under `checkpoints/<id>` of the job's artefacts."""
    object: Literal["checkpoint"] = "checkpoint"
    job_id: str
    stage: str
    step: int
    created_at: datetime
    bytes: int
    files: int
    valid: bool
    """Whether its MANIFEST stands and every file it names has its size: only then is it resumed
    from."""
    fault: str | None
    """Why it is not valid."""
    metrics: dict[str, float]
    """Figures of the step it was saved after; empty when that step was not reported."""
    model: str | None
    """Name under which chats and fine-tuning jobs take it as a model; null when it is none."""


class ArtefactView(View):
    """A file of a job."""

    path: str
    """Under the job's folder."""
    object: Literal["artefact"] = "artefact"
    bytes: int
    modified_at: datetime
    url: str
    """Where it can be downloaded: ranges and ETag are served."""
