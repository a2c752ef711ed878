"""A job as a fine-tuning job, its events and its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from api.openai.names import checkpoint_name, model_name
from api.openai.objects import (
    FineTuningJob,
    TuneCheckpoint,
    TuneError,
    TuneEvent,
    TuneState,
    unix,
)
from api.service.views import progress
from api.store.tables import FineTuneRow, JobRow
from api.store.types import now
from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    EvaluationCompared,
    EvaluationCompleted,
    JobStopped,
    Log,
    MemoryMeasured,
    PreflightCompleted,
    PromptQuarantined,
    Recovered,
    RoleStopped,
    SamplesDrawn,
    StageCompleted,
    StageStarted,
    StatusChanged,
    StepCompleted,
    StoredEvent,
)
from rlhf_service.job import JobStatus
from rlhf_service.reports import PpoReport, PreferenceReport, StepReport, SupervisedReport

STATUS: Mapping[JobStatus, Any] = {
    JobStatus.VALIDATING: "validating_files",
    JobStatus.QUEUED: "queued",
    JobStatus.PROVISIONING: "running",
    JobStatus.RUNNING: "running",
    JobStatus.RECOVERING: "running",
    JobStatus.STALLED: "running",
    JobStatus.PAUSING: "running",
    JobStatus.PAUSED: "paused",
    JobStatus.CANCELLING: "running",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
}
"""Ours → OpenAI's. A job that still holds resources is `running`, whatever it was asked to do."""


def fine_tuning_job(job: JobRow, tune: FineTuneRow) -> FineTuningJob:
    status, now_at = JobStatus(job.status), progress(job)
    failed = status is JobStatus.FAILED
    eta = now_at.eta_seconds
    hyperparameters = tune.method[tune.method["type"]]["hyperparameters"]
    return FineTuningJob(
        id=job.id,
        created_at=unix(job.created_at),
        finished_at=None if job.finished_at is None else unix(job.finished_at),
        estimated_finish=None if eta is None else unix(now() + timedelta(seconds=eta)),
        status=STATUS[status],
        error=TuneError(code=job.reason or "failed", message=job.message) if failed else None,
        model=tune.model,
        fine_tuned_model=name_of(job, tune) if status is JobStatus.SUCCEEDED else None,
        training_file=tune.training_file,
        validation_file=tune.validation_file,
        hyperparameters=hyperparameters,
        method=tune.method,
        seed=job.spec["seed"],
        metadata=job.spec["labels"],
        rlhf=TuneState(
            status=status, message=job.message, progress=now_at, job=f"/v1/jobs/{job.id}"
        ),
    )


def name_of(job: JobRow, tune: FineTuneRow) -> str:
    return model_name(job.id, tune.model, tune.suffix)


def event_id(job_id: str, seq: int) -> str:
    return f"ftevent-{job_id}-{seq}"


def tune_event(stored: StoredEvent) -> TuneEvent:
    """The entry with a sentence for people and the whole event as its data."""
    level, message = sentence(stored)
    event = stored.event
    data = event.model_dump(mode="json")
    if isinstance(event, StepCompleted):
        data = {"step": event.step, "total_steps": event.steps, **figures(event.report), **data}
    return TuneEvent(
        id=event_id(stored.job_id, stored.seq),
        created_at=unix(stored.created_at),
        level=level,
        message=message,
        type="metrics" if isinstance(event, StepCompleted) else "message",
        data=data,
    )


def sentence(stored: StoredEvent) -> tuple[str, str]:
    """Level and message of an entry."""
    match stored.event:
        case StatusChanged(status=status, message=message, reason=reason):
            level = "error" if status is JobStatus.FAILED else "info"
            said = message or (str(reason) if reason is not None else "")
            return level, f"The job is {status}" + (f": {said}" if said else "")
        case StageStarted(stage=stage, steps=steps, from_step=done):
            return "info", f"Stage {stage} starts" + (
                f" again at step {done} of {steps}" * (done > 0)
            )
        case StageCompleted(stage=stage):
            return "info", f"Stage {stage} is complete; its model is written"
        case StepCompleted(step=step, steps=steps, report=report):
            told = ", ".join(f"{name}={value:.4g}" for name, value in figures(report).items())
            return "info", f"Step {step}/{steps}: {told}"
        case EvaluationCompleted(step=step, mean=mean):
            return "info", f"Evaluation after step {step}: mean reward {mean:.4g}"
        case EvaluationCompared(differences=differences):
            told = ", ".join(
                f"{d.name} {d.difference:+.4g} (p {d.p_value:.2g})" for d in differences
            )
            return "info", f"After training against before: {told}"
        case PreflightCompleted(n=n, mean=None):
            return "warn", f"Reward tried before training: none of {n} responses could be scored"
        case PreflightCompleted(n=n, mean=mean, warnings=warnings):
            told = "".join(f"; {warning}" for warning in warnings)
            level = "warn" if warnings else "info"
            return level, f"Reward tried on {n} responses before training: mean {mean:.4g}{told}"
        case SamplesDrawn(step=step, samples=samples):
            return "info", f"{len(samples)} samples of step {step}"
        case MemoryMeasured(role=role, process=process, peak=peak):
            return "info", f"{role} {process} held at most {peak / 2**20:.0f} MiB of memory"
        case CheckpointSaved(stage=stage, step=step):
            return "info", f"Checkpoint of stage {stage} at step {step} is saved"
        case AlarmRaised(alarm=alarm, advice=advice):
            return "warn", f"Alarm {alarm}: {advice}"
        case AlarmCleared(alarm=alarm):
            return "info", f"Alarm {alarm} is over"
        case RoleStopped(role=role, message=message) | Recovered(role=role, message=message):
            return "warn", f"{role}: {message}"
        case PromptQuarantined(prompt=prompt, message=message):
            return "warn", f"Prompt {prompt} is set aside: {message}"
        case Log(level=level, message=message):
            return "warn" if level == "warning" else level, message
        case JobStopped(reason=reason, message=message):
            level = "error" if reason.to_status() is JobStatus.FAILED else "info"
            return level, f"The attempt ended: {message or reason}"


def figures(report: StepReport) -> dict[str, float]:
    """A step's figures under OpenAI's names where it has one."""
    match report:
        case SupervisedReport(loss=loss, validation_loss=valid):
            found = {"train_loss": loss, "valid_loss": valid}
        case PreferenceReport(loss=loss, accuracy=accuracy, validation_accuracy=valid):
            found = {"train_loss": loss, "train_accuracy": accuracy, "valid_accuracy": valid}
        case PpoReport():
            found = {
                "train_loss": report.policy_loss,
                "reward_mean": report.score_mean,
                "kl": report.kl,
            }
    return {name: value for name, value in found.items() if value is not None}


def tune_checkpoint(
    stored: StoredEvent,
    job: JobRow,
    tune: FineTuneRow,
    reports: Mapping[tuple[str, int], StepReport],
) -> TuneCheckpoint:
    """`reports`: (stage, step) → the newest report of that step."""
    event = stored.event
    assert isinstance(event, CheckpointSaved)
    report = reports.get((event.stage, event.step))
    metrics = {} if report is None else figures(report)
    return TuneCheckpoint(
        id=f"ftckpt_{job.id}-{stored.seq}",
        created_at=unix(stored.created_at),
        fine_tuned_model_checkpoint=checkpoint_name(name_of(job, tune), event.stage, event.step),
        fine_tuning_job_id=job.id,
        step_number=event.step,
        metrics={"step": event.step, **metrics},
    )
