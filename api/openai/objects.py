"""Answers in the shapes of the OpenAI API. What it does not know stands beside what it does."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.schemas.base import View
from api.schemas.jobs import Progress
from rlhf_service.job import JobStatus


def unix(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


Purpose = Literal["fine-tune"]
PURPOSE: Purpose = "fine-tune"
"""What files are for."""


class FileObject(View):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """Unix seconds."""
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    sha256: str
    """Of its bytes."""
    rows: int
    """Lines that are a JSON object."""
    path: str
    """Where it lies: `data.path` of a job posted to /v1/jobs may name it."""


class Deleted(View):
    """A thing that is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


class TuneError(View):
    """Why a fine-tuning job failed."""

    code: str
    message: str
    param: str | None = None


class TuneState(View):
    """What this service says of the job beside what the OpenAI API can say."""

    status: JobStatus
    message: str
    progress: Progress
    job: str
    """The same job under /v1/jobs."""


class FineTuningJob(View):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    status: Literal[
        "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
    ]
    error: TuneError | None
    model: str
    fine_tuned_model: str | None
    """Null until it succeeded."""
    organization_id: str = "rlhf-service"
    training_file: str
    validation_file: str | None
    result_files: tuple[str, ...] = ()
    trained_tokens: int | None = None
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    integrations: tuple[str, ...] = ()
    seed: int
    metadata: dict[str, str]
    rlhf: TuneState


class TuneEvent(View):
    """One entry of a fine-tuning job's log."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class TuneCheckpoint(View):
    """A checkpoint of a fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float]


class GraderErrors(View):
    """What went wrong in a grader's run. A score that could not be had is told here."""

    formula_parse_error: bool = False
    """The formula has no value."""
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    """A template names a column that the item lacks."""
    other_error: bool = False
    other_error_details: str | None = None
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False


class GraderMetadata(View):
    """How a grader's run went."""

    name: str
    type: str
    errors: GraderErrors
    execution_time: float
    """Seconds."""
    scores: dict[str, float]
    """Every named part of the score."""
    token_usage: int | None = None
    sampled_model_name: str | None = None


class GraderRun(View):
    """A grader's score of one sample."""

    reward: float
    """0 when there is no score; `metadata.errors` says so."""
    sub_rewards: dict[str, float]
    """Scores of the parts of a `multi`."""
    metadata: GraderMetadata
    model_grader_token_usage_per_model: dict[str, int] = Field(default_factory=dict)


class GraderChecked(View):
    """A grader that a job would take."""

    grader: dict[str, Any]
