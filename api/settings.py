"""Every setting of the control plane. Environment: `RLHF_<FIELD>`, as in `RLHF_PORT=9000`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.listed import Origins, Paths
from rlhf_service.launching import Capacity
from rlhf_service.planning.catalogue import GPUS
from rlhf_service.planning.device import FILE, GPU_FILE
from rlhf_service.storage import JobFolder


class Settings(BaseSettings):
    """The control plane's configuration."""

    model_config = SettingsConfigDict(
        env_prefix="RLHF_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    storage: Path = Path("rlhf-storage")
    """Folder that the control plane and the cluster share: jobs, the SQLite file, the secret."""

    database_url: str = ""
    """`sqlite+aiosqlite:///…` or `postgresql://…`; a SQLite file under `storage` when empty."""

    database_idle: float = Field(default=10.0, ge=1)
    """Seconds after which PostgreSQL ends a transaction in which nothing is said: a replica that froze
    in one holds its rows no longer."""

    migrate: bool | None = None
    """Bring the database schema up to date at start; only for SQLite when unset."""

    data_roots: Paths = ()
    """Folders that jobs may read data and models from, besides `storage`/data and finished jobs.
    In the environment: a JSON list, or paths joined with the platform's path separator."""

    launcher: Literal["ray", "kuberay"] = "ray"
    """`ray` submits jobs to one Ray cluster (`ray_address`); `kuberay` makes a RayJob, with a cluster
    of its own, for each attempt (`kuberay_file`)."""

    kuberay_file: Path | None = None
    """YAML file that says how a RayJob is made (`cluster/kuberay/settings.py`)."""

    ray_address: str = "http://127.0.0.1:8265"
    """The Ray dashboard, which answers the Ray Jobs API."""

    cluster_max_cpus: float = Field(default=0, ge=0)
    """CPUs that the cluster can grow to, where an autoscaler adds nodes for jobs that ask for them; a
    job of up to that size starts although there are fewer now. 0: what there is now is all."""

    cluster_max_gpus: float = Field(default=0, ge=0)
    """The same of GPUs."""

    cluster_growth_seconds: float = Field(default=900.0, gt=0)
    """Seconds that such nodes may take to come: images pulled, Ray started."""

    host: str = "127.0.0.1"
    """Interface to listen on."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""

    public_url: str = ""
    """Base URL under which drivers on the cluster reach this API; `http://host:port` when empty."""

    bootstrap_key: SecretStr | None = None
    """API key to store when there is none yet; a random one is made when unset."""

    max_body_bytes: int = Field(default=16 * 2**20, ge=1024)
    """Largest request body."""

    max_file_bytes: int = Field(default=512 * 2**20, ge=1024)
    """Largest file that may be uploaded."""

    oidc_issuer: str = ""
    """Whose OIDC tokens are taken besides API keys, as `https://login.example.org`; none when
    empty."""

    oidc_audience: str = ""
    """What such a token's `aud` must name: this service, as the issuer knows it."""

    oidc_jwks_url: str = ""
    """Where the issuer publishes its keys; found by its discovery document when empty."""

    oidc_tenant_claim: str = "tenant"
    """The claim that names the tenant. Dots lead into objects."""

    oidc_tenant: str = ""
    """The tenant of tokens without that claim; they are refused when empty."""

    oidc_scope_claim: str = "scope"
    """The claim that lists what its subject may do: a list, or words in one text."""

    oidc_scopes: dict[str, Literal["read", "write", "admin"]] = Field(
        default={"rlhf:read": "read", "rlhf:write": "write", "rlhf:admin": "admin"}
    )
    """What that claim says → scope. In the environment: a JSON object."""

    rate_limit: int = Field(default=6000, ge=0)
    """Requests a minute of one API key, to each replica; 0: any number."""

    sign_in_failures: int = Field(default=30, ge=0)
    """Wrong keys a minute from one address, to each replica, until it is answered 429; 0: any."""

    audit_days: int = Field(default=365, ge=0)
    """Days that entries of the audit log are kept; 0: for ever."""

    cors_origins: Origins = ()
    """Origins, as `https://app.example.org`, whose pages may call this API from browsers. In the
    environment: a JSON list, or origins joined with commas. None: no page of another origin."""

    base_models: dict[str, Path] = Field(default_factory=dict)
    """Base models by the name that fine-tuning requests use: a model folder, or a folder of model
    folders (`name/below`). In the environment: a JSON object."""

    generation_models: int = Field(default=2, ge=0)
    """Models that may be loaded at once to answer chats, two to compare a model with its base; 0
    serves no text. Each is a process."""

    generation_max_bytes: int = Field(default=4 * 2**30, ge=0)
    """Largest weights, in bytes of safetensors, that are loaded for it."""

    generation_threads: int = Field(default=2, ge=1)
    """Threads of each such process."""

    generation_timeout: float = Field(default=120.0, gt=0)
    """Seconds that one answer may take, loading the model included."""

    generation_idle: float = Field(default=300.0, gt=0)
    """Seconds without a request after which a model is unloaded."""

    device_profile: Path | None = None
    """What `rlhf calibrate` measured of the machines that jobs run on; `device-profile.json` in the
    storage's `control` folder when unset. Of their GPUs, `gpu-profile.json` there is read, too."""

    gpu: str = ""
    """GPU of the planner's catalogue that the cluster has, for plans of jobs on GPUs where none was
    measured."""

    vllm_python: str = ""
    """Python of the environment with vLLM, the same path on every node, for rollout actors of jobs
    with `rollout.engine: {type: vllm}`; they run in the job's own environment when empty."""

    artefacts: str = ""
    """Where finished checkpoints, models, events and completion records of jobs are copied to, as any
    URI that fsspec knows (`s3://bucket/prefix`); nowhere when empty. Credentials: the environment of
    the control plane and of the cluster's nodes."""

    artefacts_grace: float = Field(default=600.0, ge=0)
    """Seconds that a driver may go on copying after its job's end."""

    reconcile: bool = True
    """Run the background loops in this process."""

    reconcile_interval: float = Field(default=1.0, gt=0)
    """Seconds between two looks at the jobs."""

    lease_seconds: float = Field(default=20.0, gt=0)
    """How long a replica may work on a job before another may take it over."""

    launcher_timeout: float = Field(default=10.0, gt=0)
    """Seconds a call to the cluster may take before it counts as unreachable."""

    lost_looks: int = Field(default=3, ge=1)
    """Consecutive looks at which the cluster must not know an attempt before it counts as lost."""

    launch_refusals: int = Field(default=3, ge=1)
    """Times a reachable cluster may refuse an attempt before the job fails."""

    cancel_grace: float = Field(default=12.0, ge=0)
    """Seconds a cancelled job has to stop by itself before its driver is stopped."""

    pause_grace: float = Field(default=60.0, ge=0)
    """The same for a paused job."""

    result_grace: float = Field(default=30.0, ge=0)
    """Seconds a driver may live on after writing the completion record."""

    leftover_grace: float = Field(default=30.0, ge=0)
    """Seconds a dead attempt's actors have to go by themselves; then they are removed. After thrice
    that long the next attempt starts in spite of them."""

    shutdown_grace: float = Field(default=10.0, gt=0)
    """Seconds that open requests have to finish when the server stops."""

    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line with `request_id` and `job_id`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""

    metrics_token: SecretStr | None = None
    """Bearer token with which Prometheus scrapes `/metrics`; without it an operator's key is
    needed."""

    otlp_endpoint: str = ""
    """Base URL of an OpenTelemetry collector's OTLP/HTTP receiver, as in `http://collector:4318`;
    nothing is traced when empty. Jobs' processes send their spans there too."""

    webhook_timeout: float = Field(default=10.0, gt=0)
    """Seconds a webhook's receiver has to answer."""

    webhook_attempts: int = Field(default=12, ge=1)
    """Sendings of one message before it is given up; with the pauses, about three hours."""

    webhook_pause: float = Field(default=5.0, gt=0)
    """Seconds after the first failed sending; doubles up to an hour."""

    webhook_retention_days: float = Field(default=30.0, gt=0)
    """How long deliveries that are over are kept."""

    sse_poll: float = Field(default=1.0, gt=0)
    """Seconds between looks for events that another replica stored and nobody told of."""

    sse_heartbeat: float = Field(default=10.0, gt=0)
    """Seconds between comments on a silent stream."""

    sse_lifetime: float = Field(default=900.0, gt=0)
    """Seconds after which a stream asks its client to reconnect."""

    sse_streams: int = Field(default=5000, ge=1)
    """Streams open at once; one more is refused with 429."""

    event_days: float = Field(default=0, ge=0)
    """Days after a job's end that its log is kept; 0 keeps it for ever. Its last entry stays."""

    @field_validator("gpu", mode="after")
    @classmethod
    def gpu_is_known(cls, value: str) -> str:
        if value and value not in GPUS:
            raise ValueError(f"no GPU {value!r} in the catalogue; there are {', '.join(GPUS)}")
        return value

    @field_validator("storage", mode="after")
    @classmethod
    def storage_is_absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @model_validator(mode="after")
    def kuberay_has_its_file(self) -> Self:
        if self.launcher == "kuberay" and self.kuberay_file is None:
            raise ValueError("RLHF_LAUNCHER=kuberay needs RLHF_KUBERAY_FILE")
        return self

    @model_validator(mode="after")
    def issuer_is_whole(self) -> Settings:
        if not self.oidc_issuer:
            return self
        for name, url in (("issuer", self.oidc_issuer), ("jwks_url", self.oidc_jwks_url)):
            local = re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", url + "/")
            if url and not url.startswith("https://") and not local:
                raise ValueError(f"oidc_{name}: {url!r} must be an https:// address")
        if not self.oidc_audience:
            raise ValueError("oidc_audience: name what the issuer's tokens are for")
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy URL with an asynchronous driver."""
        url = self.database_url or f"sqlite+aiosqlite:///{self.control / 'control.db'}"
        scheme, _, rest = url.partition("://")
        drivers = {
            "sqlite": "sqlite+aiosqlite",
            "postgres": "postgresql+asyncpg",
            "postgresql": "postgresql+asyncpg",
        }
        return f"{drivers.get(scheme, scheme)}://{rest}"

    @property
    def control(self) -> Path:
        """The control plane's own folder; jobs may not read it."""
        return self.storage / "control"

    @property
    def profile(self) -> Path:
        """The planner's device profile."""
        return self.device_profile or self.control / FILE

    @property
    def gpu_profile(self) -> Path:
        """The same of a GPU."""
        return self.control / GPU_FILE

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that jobs may read from."""
        own = (self.storage / "data", self.storage / "jobs")
        return (*self.data_roots, *self.base_models.values(), *own)

    @property
    def uploads(self) -> Path:
        """Uploaded files; jobs may read them."""
        return self.storage / "data" / "files"

    @property
    def growth(self) -> Capacity:
        """What the cluster can grow to; nothing where it does not grow."""
        return Capacity(self.cluster_max_cpus, self.cluster_max_gpus)

    @property
    def driver_grace(self) -> float:
        """Seconds a driver may live on after writing the completion record."""
        return self.result_grace + (self.artefacts_grace if self.artefacts else 0.0)

    def folder(self, job_id: str) -> JobFolder:
        """The job's files."""
        return JobFolder(self.storage / "jobs" / job_id)

    def events_url(self, job_id: str) -> str:
        """Where the job's driver posts its events."""
        base = self.public_url or f"http://{self.host}:{self.port}"
        return f"{base.rstrip('/')}/v1/internal/jobs/{job_id}/events"
