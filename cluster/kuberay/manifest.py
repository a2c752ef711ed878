"""An attempt → its RayJob. Pure."""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass
from math import ceil
from typing import Any

import yaml

from cluster.entry import driver_command, driver_environment
from cluster.kuberay.groups import PodGroup, pod_groups
from cluster.kuberay.settings import KubeRaySettings
from cluster.placement import SLOTS
from rlhf_service.launching import LaunchRequest
from rlhf_service.spec.job import JobSpec

Object = dict[str, Any]

API_VERSION = "ray.io/v1"
NAME_LIMIT = 47
"""KubeRay makes longer names of a RayJob's own."""
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

INSTANCE, JOB, ATTEMPT = "rlhf/instance", "rlhf/job", "rlhf/attempt"
JOB_NAME = "rlhf/job-name"
QUEUE = "kueue.x-k8s.io/queue-name"

LEAVE_MARGIN = 30
"""Seconds of a pod's grace that are Ray's own, after the job has stopped."""


def object_name(submission_id: str) -> str:
    """The submission's id where Kubernetes takes it, else a name of its own."""
    if len(submission_id) <= NAME_LIMIT and NAME.fullmatch(submission_id):
        return submission_id
    digest = hashlib.sha256(submission_id.encode()).hexdigest()[:12]
    plain = re.sub(r"[^a-z0-9]+", "-", submission_id.lower()).strip("-")[: NAME_LIMIT - 15]
    return f"j-{plain}-{digest}" if plain else f"j-{digest}"


def labels_of(settings: KubeRaySettings, job_id: str) -> dict[str, str]:
    """What every object and pod of a job is found by."""
    return {INSTANCE: settings.instance, JOB: job_id}


def rayjob(request: LaunchRequest, spec: JobSpec, settings: KubeRaySettings) -> Object:
    """The object to post. Raises SpecError when no pod can hold one of the job's processes."""
    groups = pod_groups(spec, settings)
    environment = driver_environment(request)
    if any(group.slots for group in groups):
        environment[SLOTS] = "1"
    labels = labels_of(settings, request.job_id) | {ATTEMPT: str(request.attempt)}
    queued = {QUEUE: settings.queue} if settings.queue else {}
    pods = PodMaker(settings, labels, request)
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": object_name(request.submission_id),
            "namespace": settings.namespace,
            "labels": {**settings.labels, **labels, **queued},
            "annotations": {JOB_NAME: request.job_name},
        },
        "spec": {
            "submissionMode": "HTTPMode",  # the operator asks the dashboard; no further pod
            "jobId": request.submission_id,
            "entrypoint": driver_command(settings.python, request),
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": environment}),
            "backoffLimit": 0,  # further attempts are the control plane's to decide
            **(suspendable() if settings.queue else staged(settings)),
            "rayClusterSpec": {
                "rayVersion": settings.ray_version,
                "authOptions": {"mode": "token", "secretName": settings.auth_secret},
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    # The driver runs there; what it starts runs on workers.
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
                    "template": pods.head(),
                },
                "workerGroupSpecs": [pods.workers(group) for group in groups],
            },
        },
    }


def suspendable() -> Object:
    """Kueue starts and stops it, and wants the whole cluster gone when the job is over."""
    return {"suspend": True, "shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 0}


def staged(settings: KubeRaySettings) -> Object:
    """Workers, and with them the GPUs, go at once; the head and the object later."""
    ends = (
        {"jobStatus": "SUCCEEDED"},
        {"jobStatus": "FAILED"},
        {"jobDeploymentStatus": "Failed"},
    )
    stages = (
        ("DeleteWorkers", 0),
        ("DeleteCluster", settings.log_seconds),
        ("DeleteSelf", settings.keep_seconds),
    )
    rules = [
        {"policy": policy, "condition": {**end, "ttlSeconds": seconds}}
        for end in ends
        for policy, seconds in stages
    ]
    return {"deletionStrategy": {"deletionRules": rules}}


@dataclass(frozen=True, slots=True)
class PodMaker:
    """The operator's templates, filled in for one attempt."""

    settings: KubeRaySettings
    labels: dict[str, str]
    request: LaunchRequest

    def head(self) -> Object:
        return self._filled(self.settings.head)

    def workers(self, group: PodGroup) -> Object:
        """A worker group that is there whole, from the start to the end."""
        base = self.settings.gpu_worker if group.gpus else self.settings.cpu_worker
        assert base is not None  # pod_groups refuses GPUs without a template
        template = self._filled(base)
        template["spec"]["containers"][0]["resources"] = self._resources(group)
        slots = {"resources": {k: str(v) for k, v in group.slots.items()}} if group.slots else {}
        return {
            "groupName": group.name,
            "replicas": group.replicas,
            "minReplicas": group.replicas,
            "maxReplicas": group.replicas,
            "rayStartParams": {},
            **slots,
            "template": template,
        }

    def _resources(self, group: PodGroup) -> Object:
        gib = group.cpus * self.settings.memory_per_cpu + group.gpus * self.settings.memory_per_gpu
        amount = {"cpu": f"{ceil(group.cpus * 1000)}m", "memory": f"{ceil(gib * 1024)}Mi"}
        if group.gpus:
            amount[self.settings.gpu_resource] = str(group.gpus)
        return {"requests": dict(amount), "limits": amount}

    def _filled(self, template: Object) -> Object:
        """A copy with the job's labels, and with time to checkpoint before the pod goes."""
        filled = copy.deepcopy(template)
        metadata = filled.setdefault("metadata", {})
        metadata["labels"] = {**metadata.get("labels", {}), **self.labels}
        container = filled["spec"]["containers"][0]
        seconds = filled["spec"].get("terminationGracePeriodSeconds", 30) - LEAVE_MARGIN
        if seconds > 0 and "lifecycle" not in container:
            command = [
                *(self.settings.python, "-m", "cluster.leave", "--job", self.request.storage),
                *("--attempt", str(self.request.attempt), "--seconds", str(seconds)),
            ]
            container["lifecycle"] = {"preStop": {"exec": {"command": command}}}
        return filled
