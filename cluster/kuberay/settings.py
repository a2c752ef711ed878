"""What an operator decides about jobs' clusters: a YAML file, `RLHF_KUBERAY_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from rlhf_service.errors import LauncherError
from rlhf_service.spec.base import Section

LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeRaySettings(Section):
    """How each attempt becomes a RayJob with a cluster of its own."""

    namespace: str = Field(pattern=f"^{LABEL}$")
    """Namespace of the RayJobs."""

    instance: str = Field(default="rlhf", pattern=f"^{LABEL}$")
    """Tells this control plane's objects from those of others in the namespace."""

    api_server: str = ""
    """URL of the Kubernetes API; the one that pods are told of when empty."""

    credentials: Path = SERVICE_ACCOUNT
    """Folder with `token` and `ca.crt`; the token is read again when it was renewed."""

    ray_version: str = "2.60.0"
    """Ray's version in the images."""

    auth_secret: str
    """Secret with the clusters' Ray token under `auth_token`."""

    python: str = "python"
    """The interpreter in the images."""

    head: dict[str, Any]
    """Pod template of a head; its first container is Ray's."""

    cpu_worker: dict[str, Any]
    """Pod template of workers without GPUs; their resources are derived from the job."""

    gpu_worker: dict[str, Any] | None = None
    """Pod template of workers with GPUs; jobs that ask for GPUs are refused when absent."""

    gpu_resource: str = "nvidia.com/gpu"
    """Name under which nodes offer GPUs."""

    pod_cpus: float = Field(default=16, gt=0)
    """Most CPUs of one worker pod; what a node has to give."""

    pod_gpus: int = Field(default=8, ge=0)
    """Most GPUs of one worker pod."""

    memory_per_cpu: float = Field(default=4, gt=0)
    """GiB of memory of a worker for each CPU it reserves."""

    memory_per_gpu: float = Field(default=64, ge=0)
    """GiB of memory of a worker for each GPU it reserves, besides."""

    log_seconds: int = Field(default=300, ge=0)
    """How long a finished job's head stays, for its dashboard."""

    keep_seconds: int = Field(default=86400, ge=0)
    """How long a finished RayJob object stays."""

    queue: str = Field(default="", pattern=f"^({LABEL})?$")
    """Kueue's LocalQueue that jobs wait in; without one they start at once."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Further labels of each RayJob, such as kueue.x-k8s.io/priority-class."""

    capacity: Literal["nodes", "unlimited"] = "nodes"
    """What the control plane's own queue counts on: what the ready nodes have, or no limit (nodes
    are made on demand, or Kueue says who waits)."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that are counted."""

    @field_validator("head", "cpu_worker", "gpu_worker")
    @classmethod
    def is_pod_template(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and not value.get("spec", {}).get("containers"):
            raise ValueError("a pod template has spec.containers, the first of which is Ray's")
        return value

    @model_validator(mode="after")
    def kept_in_order(self) -> Self:
        if self.keep_seconds < self.log_seconds:
            raise ValueError("keep_seconds is at least log_seconds: a head goes before its RayJob")
        return self

    @property
    def unlimited(self) -> bool:
        """Whether somebody else says who waits."""
        return self.capacity == "unlimited" or bool(self.queue)

    @classmethod
    def read(cls, path: Path) -> KubeRaySettings:
        """From the file. Raises LauncherError that names the field."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as fault:
            raise LauncherError(f"RLHF_KUBERAY_FILE {path}: {fault.strerror}") from None
        except yaml.YAMLError as fault:
            raise LauncherError(f"RLHF_KUBERAY_FILE {path} is no YAML: {fault}") from None
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LauncherError(f"RLHF_KUBERAY_FILE {path}: {where}: {first['msg']}") from None
