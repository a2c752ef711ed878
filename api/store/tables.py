"""The tables. A change here needs a migration in `migrations/versions`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.store.base import Base, Number
from api.store.types import Words


class JobRow(Base):
    """One job. `version` counts status moves; a write against an older version fails."""

    __tablename__ = "jobs"
    __table_args__ = (
        # For pages, newest first, of a tenant and of a status.
        Index("ix_jobs_tenant_number", "tenant", "number"),
        Index("ix_jobs_status_number", "status", "number"),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Words(40), unique=True)
    tenant: Mapped[str] = mapped_column(Words(40))
    """Whose it is. Nobody else sees it."""
    name: Mapped[str] = mapped_column(Words(64))
    spec: Mapped[dict[str, Any]]
    cpus: Mapped[float]
    gpus: Mapped[float]
    status: Mapped[str] = mapped_column(Words(20))
    reason: Mapped[str | None] = mapped_column(Words(40))
    message: Mapped[str] = mapped_column(Words, default="")
    version: Mapped[int] = mapped_column(default=1)
    attempt: Mapped[int] = mapped_column(default=0)
    """Number of the newest attempt; 0 before the first."""
    deaths: Mapped[int] = mapped_column(default=0)
    """Attempts that ended without being asked to."""
    first_seq: Mapped[int] = mapped_column(Number, default=1, server_default="1")
    """Oldest entry of its log that is kept."""
    last_seq: Mapped[int] = mapped_column(Number, default=0)
    control_seq: Mapped[int] = mapped_column(Number, default=0)
    """The control plane's own producer_seq in this job's log."""
    stage: Mapped[str | None]
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int] = mapped_column(default=0)
    step_seconds: Mapped[float | None]
    """Smoothed seconds of a step of the current stage."""
    metrics: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    updated_at: Mapped[datetime]
    parent_id: Mapped[str | None] = mapped_column(Words(40), index=True)
    """The job that this one goes on from, or was cloned from; it may be deleted by now."""
    parent_kind: Mapped[str | None] = mapped_column(Words(16))
    """`retry` or `clone`."""
    stop_requested_at: Mapped[datetime | None]
    """When cancel or pause was asked for."""
    traceparent: Mapped[str | None] = mapped_column(Words(64))
    """The span of the request that submitted it."""
    model_deleted_at: Mapped[datetime | None]
    """When its model was deleted."""
    priority: Mapped[int] = mapped_column(default=0)
    preemptible: Mapped[bool] = mapped_column(default=False)
    preempted_by: Mapped[str | None] = mapped_column(Words(40))
    """The job that it makes room for while it is pausing; it is queued again by itself."""
    lease_token: Mapped[str | None] = mapped_column(Words(40))
    lease_expires_at: Mapped[datetime | None]

    # Every UPDATE says "WHERE version = the one I read"; only a status move raises it.
    __mapper_args__ = {"version_id_col": version, "version_id_generator": False}  # noqa: RUF012


class LabelRow(Base):
    """One label of a job, for filters."""

    __tablename__ = "labels"
    __table_args__ = (Index("ix_labels_key_value", "key", "value"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Words(64), primary_key=True)
    value: Mapped[str] = mapped_column(Words(512))


class AttemptRow(Base):
    """One submission of a job to the cluster."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[str] = mapped_column(Words(64), unique=True)
    token_sha256: Mapped[str] = mapped_column(Words(64))
    created_at: Mapped[datetime] = mapped_column(index=True)
    submitted_at: Mapped[datetime | None]
    """When the cluster took it."""
    refusals: Mapped[int] = mapped_column(default=0)
    trained_at: Mapped[datetime | None]
    """When its first stage or step was reported."""
    stopped: Mapped[dict[str, Any] | None]
    """Its JobStopped event: the driver's last word."""
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(Words)


class EventRow(Base):
    """One entry of a job's log."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("job_id", "producer", "producer_seq", name="uq_events_producer"),
        Index("ix_events_type_seq", "job_id", "type", "seq"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    producer: Mapped[str] = mapped_column(Words(64))
    producer_seq: Mapped[int] = mapped_column(Number)
    type: Mapped[str] = mapped_column(Words(32))
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class IdempotencyRow(Base):
    """A request of a tenant that must have one effect."""

    __tablename__ = "idempotency_keys"

    tenant: Mapped[str] = mapped_column(Words(40), primary_key=True)
    key: Mapped[str] = mapped_column(Words(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(Words(64))
    job_id: Mapped[str] = mapped_column(Words(40))
    created_at: Mapped[datetime]


class KeyRow(Base):
    """An API key; only its digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Words(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Words(40), index=True)
    name: Mapped[str] = mapped_column(Words(64))
    prefix: Mapped[str] = mapped_column(Words(16))
    """First characters, for people to tell keys apart."""
    sha256: Mapped[str] = mapped_column(Words(64), unique=True)
    scopes: Mapped[str] = mapped_column(Words(64), default="admin")
    """Space-separated: read, write, admin."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """From then on it opens nothing."""
    last_used_at: Mapped[datetime | None]
    """To the minute."""
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """A request that changed something, or would have. The database refuses to change one."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_tenant", "tenant", "number"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    tenant: Mapped[str] = mapped_column(Words(40))
    caller_id: Mapped[str] = mapped_column(Words(40))
    caller_name: Mapped[str] = mapped_column(Words(255))
    action: Mapped[str] = mapped_column(Words(64))
    object_id: Mapped[str | None] = mapped_column(Words(255))
    method: Mapped[str] = mapped_column(Words(16))
    path: Mapped[str] = mapped_column(Words(512))
    address: Mapped[str] = mapped_column(Words(64))
    request_id: Mapped[str] = mapped_column(Words(64))
    status: Mapped[int]


class QuotaRow(Base):
    """A tenant's limits; null: none."""

    __tablename__ = "quotas"

    tenant: Mapped[str] = mapped_column(Words(40), primary_key=True)
    """`*`: those without a row of their own."""
    running_jobs: Mapped[int | None]
    queued_jobs: Mapped[int | None]
    cpus: Mapped[float | None]
    gpus: Mapped[float | None]
    updated_at: Mapped[datetime]


class FileRow(Base):
    """An uploaded file. Its bytes lie in storage under its id."""

    __tablename__ = "files"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Words(40), unique=True)
    tenant: Mapped[str] = mapped_column(Words(40), index=True)
    filename: Mapped[str] = mapped_column(Words(255))
    purpose: Mapped[str] = mapped_column(Words(32), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Words(64))
    rows: Mapped[int]
    created_at: Mapped[datetime]


class FineTuneRow(Base):
    """What a job was asked for as an OpenAI fine-tuning job. Its tenant is the job's."""

    __tablename__ = "fine_tunes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model: Mapped[str] = mapped_column(Words(512))
    """The base model as the request named it."""
    suffix: Mapped[str | None] = mapped_column(Words(64))
    training_file: Mapped[str] = mapped_column(Words(40))
    validation_file: Mapped[str | None] = mapped_column(Words(40))
    method: Mapped[dict[str, Any]]
    """The method with its hyperparameters, none of them `auto` any more."""


class UploadRow(Base):
    """A file that comes in parts."""

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_status", "status", "expires_at"),)

    id: Mapped[str] = mapped_column(Words(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Words(40))
    filename: Mapped[str] = mapped_column(Words(255))
    purpose: Mapped[str] = mapped_column(Words(32))
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the whole file, as it was announced."""
    status: Mapped[str] = mapped_column(Words(20))
    file_id: Mapped[str | None] = mapped_column(Words(40))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class UploadPartRow(Base):
    """A part that has come. Its bytes lie under its id until the upload ends."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(Words(40), primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    number: Mapped[int]
    """Counts the upload's parts from 1 in the order of their coming."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Words(64))
    created_at: Mapped[datetime]


class PlanRow(Base):
    """What a job was planned to take when it was accepted, and what it took."""

    __tablename__ = "plans"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    plan: Mapped[dict[str, Any]]
    actual: Mapped[dict[str, Any] | None]
    """Null until an attempt ends."""
    created_at: Mapped[datetime]


class JobInputRow(Base):
    """A file or folder that a job reads, as it was when the job was accepted."""

    __tablename__ = "job_inputs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    field: Mapped[str] = mapped_column(Words(255), primary_key=True)
    """Dotted, in the job's specification."""
    kind: Mapped[str] = mapped_column(Words(16))
    """`data`, `model` or `tokenizer`."""
    path: Mapped[str] = mapped_column(Words)
    sha256: Mapped[str | None] = mapped_column(Words(64))
    """Of data."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str | None] = mapped_column(Words(40), index=True)
    """The job that left it, or the uploaded file that it is."""


class RegisteredModelRow(Base):
    """A model folder that somebody gave a name."""

    __tablename__ = "registered_models"
    __table_args__ = (UniqueConstraint("tenant", "id", name="uq_registered_models_tenant"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Words(64))
    tenant: Mapped[str] = mapped_column(Words(40))
    path: Mapped[str] = mapped_column(Words)
    architecture: Mapped[str] = mapped_column(Words(128))
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of its files."""
    created_at: Mapped[datetime]


class GarbageRow(Base):
    """A path in storage that nothing refers to any more; the background loops remove it."""

    __tablename__ = "garbage"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    path: Mapped[str] = mapped_column(Words)
    created_at: Mapped[datetime]
