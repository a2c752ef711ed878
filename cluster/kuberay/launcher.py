"""The JobLauncher port over KubeRay: a RayJob, with a cluster of its own, for each attempt."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from cluster.entry import leave_token
from cluster.kuberay.api import (
    NODES,
    PODS,
    RAYCLUSTERS,
    RAYJOBS,
    AlreadyExists,
    Credentials,
    KubernetesApi,
    Object,
    server_of,
)
from cluster.kuberay.manifest import ATTEMPT, INSTANCE, JOB, labels_of, object_name, rayjob
from cluster.kuberay.mirror import Mirror
from cluster.kuberay.quantity import quantity
from cluster.kuberay.settings import KubeRaySettings
from cluster.kuberay.states import is_finished, launch_state, said
from rlhf_service.errors import LauncherError, SpecError
from rlhf_service.launching import (
    Capacity,
    Inventory,
    LaunchRequest,
    LaunchState,
    Submission,
)
from rlhf_service.spec.job import JobSpec
from rlhf_service.storage import JobFolder

log = logging.getLogger("rlhf.kuberay")

LOG_TIMEOUT = 5.0
HEAD = "head"
"""KubeRay's value of ray.io/node-type on a head's pod."""


class KubeRayLauncher:
    """Submits RayJobs to one namespace. `jobs` is the folder of the jobs' folders."""

    def __init__(self, settings: KubeRaySettings, jobs: Path) -> None:
        self._settings, self._jobs = settings, jobs
        self._namespace = settings.namespace
        self._api = KubernetesApi(server_of(settings.api_server), Credentials(settings.credentials))
        self._mirror = Mirror(self._api, self._namespace, {INSTANCE: settings.instance}, self._tidy)

    def submit(self, request: LaunchRequest) -> None:
        text = JobFolder(Path(request.storage)).spec.read_text(encoding="utf-8")
        try:
            body = rayjob(request, JobSpec.model_validate_json(text), self._settings)
        except SpecError as fault:
            raise LauncherError(str(fault)) from fault
        leave_token(request)
        try:
            self._mirror.add(self._api.create(RAYJOBS, self._namespace, body))
        except AlreadyExists:
            self._require_ours(request, body["metadata"]["name"])

    def stop(self, submission_id: str) -> None:
        """Delete it, and with it its cluster: pods have their grace to checkpoint."""
        self._api.delete(RAYJOBS, self._namespace, object_name(submission_id))

    def suspend(self, submission_id: str, suspended: bool = True) -> None:
        """Give the attempt's cluster back without ending it, or let it go on.

        Only RayJobs that are in a queue can be suspended; Kueue uses the same switch.
        """
        name = object_name(submission_id)
        self._api.patch(RAYJOBS, self._namespace, name, {"spec": {"suspend": suspended}})

    def state(self, submission_id: str) -> LaunchState:
        return launch_state(self._find(submission_id))

    def leftovers(self, job_id: str) -> list[str]:
        labels = labels_of(self._settings, job_id)
        rayjobs, _ = self._api.list(RAYJOBS, self._namespace, labels)
        clusters, _ = self._api.list(RAYCLUSTERS, self._namespace, labels)
        pods, _ = self._api.list(PODS, self._namespace, labels)
        over = {name_of(found) for found in rayjobs if is_finished(found)}
        # What stays of a finished attempt on purpose: its object, and its head for the logs.
        kept = {name_of(cluster) for cluster in clusters if owner_of(cluster) in over}
        left = [f"RayJob {name_of(found)}" for found in rayjobs if name_of(found) not in over]
        left += [f"RayCluster {name_of(c)}" for c in clusters if name_of(c) not in kept]
        left += [f"pod {name_of(pod)}" for pod in pods if holds_room(pod, kept)]
        return sorted(left)

    def remove(self, job_id: str) -> None:
        """Delete the job's RayJobs, finished ones too, and clusters that have none."""
        labels = labels_of(self._settings, job_id)
        for kind in (RAYJOBS, RAYCLUSTERS):
            for found in self._api.list(kind, self._namespace, labels)[0]:
                if kind is RAYJOBS or not owner_of(found):
                    self._api.delete(kind, self._namespace, name_of(found))

    def inventory(self) -> Inventory:
        """RayJobs that are not over. Their parts are theirs, and go with them."""
        mine = {INSTANCE: self._settings.instance}
        labels = [
            found["metadata"].get("labels", {})
            for found in self._api.list(RAYJOBS, self._namespace, mine)[0]
            if not is_finished(found) and not found["metadata"].get("deletionTimestamp")
        ]
        return Inventory(
            [
                Submission(job_id=label[JOB], attempt=int(label[ATTEMPT]), owner="")
                for label in labels
                if label.keys() >= {JOB, ATTEMPT}
            ]
        )

    def logs(self, submission_id: str) -> str:
        """What the driver printed: from its cluster's dashboard, else from the job's folder, else
        what the operator says.
        """
        found = self._find(submission_id)
        status = (found or {}).get("status") or {}
        printed = dashboard_log(status.get("dashboardURL", ""), status.get("jobId", ""))
        if printed is None:
            printed = self._kept_log(submission_id)
        return printed if printed else said(found or {})

    def capacity(self) -> Capacity:
        self._mirror.start()
        if self._settings.unlimited:
            self._api.list(RAYJOBS, self._namespace, {INSTANCE: self._settings.instance, JOB: "-"})
            gpus = math.inf if self._settings.gpu_worker is not None else 0.0
            return Capacity(cpus=math.inf, gpus=gpus)
        nodes, _ = self._api.list(NODES, "", self._settings.node_selector)
        ready = [node["status"].get("allocatable", {}) for node in nodes if takes_pods(node)]
        return Capacity(
            cpus=sum(quantity(has.get("cpu", "0")) for has in ready),
            gpus=sum(quantity(has.get(self._settings.gpu_resource, "0")) for has in ready),
        )

    def close(self) -> None:
        """Stop watching; the thread ends with what it hears next."""
        self._mirror.close()
        self._api.close()

    def _find(self, submission_id: str) -> Object | None:
        """From the mirror while it is up to date, else from the API."""
        self._mirror.start()
        name = object_name(submission_id)
        current, found = self._mirror.look(name)
        if current and found is not None:
            return found
        # That it is gone decides much: asked for, never concluded.
        return self._api.get(RAYJOBS, self._namespace, name)

    def _require_ours(self, request: LaunchRequest, name: str) -> None:
        found = self._api.get(RAYJOBS, self._namespace, name)
        labels = (found or {}).get("metadata", {}).get("labels", {})
        mine = labels_of(self._settings, request.job_id) | {ATTEMPT: str(request.attempt)}
        if found is not None and not mine.items() <= labels.items():
            raise LauncherError(
                f"a RayJob {name} of somebody else's is in namespace {self._namespace}; delete it, "
                "or give this control plane a namespace of its own"
            )

    def _kept_log(self, submission_id: str) -> str:
        parts = re.fullmatch(r"(.+)-a(\d+)", submission_id)
        if parts is None:
            return ""
        path = JobFolder(self._jobs / parts[1]).driver_log(int(parts[2]))
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _tidy(self, rayjobs: Iterable[Object]) -> None:
        """Delete objects that are long over; no deletion rule covers every end."""
        for found in rayjobs:
            ended = (found.get("status") or {}).get("endTime")
            if not is_finished(found) or not ended or found["metadata"].get("deletionTimestamp"):
                continue
            age = datetime.now(UTC) - datetime.fromisoformat(ended)
            if age.total_seconds() > self._settings.keep_seconds:
                log.info("deleting RayJob %s, over for %s", name_of(found), age)
                self._api.delete(RAYJOBS, self._namespace, name_of(found))


def dashboard_log(url: str, job_id: str) -> str | None:
    """The driver's log as its own cluster has it; None when there is none to ask any more."""
    if not url or not job_id:
        return None
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    base = url if "://" in url else f"http://{url}"
    try:
        reply = httpx.get(
            f"{base}/api/jobs/{job_id}/logs",
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=LOG_TIMEOUT,
        )
        reply.raise_for_status()
        logs: str = reply.json()["logs"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
    return logs


def name_of(found: Object) -> str:
    return str(found["metadata"]["name"])


def owner_of(found: Object) -> str:
    """Name of the RayJob that made it."""
    owners = found["metadata"].get("ownerReferences") or []
    return next((str(owner["name"]) for owner in owners if owner["kind"] == "RayJob"), "")


def holds_room(pod: Object, kept: set[str]) -> bool:
    """Whether a pod of the job still holds what others could use."""
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return False
    labels = pod["metadata"].get("labels", {})
    return not (labels.get("ray.io/node-type") == HEAD and labels.get("ray.io/cluster") in kept)


def takes_pods(node: Object) -> bool:
    """Whether a node is ready and not cordoned."""
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node.get("spec", {}).get("unschedulable")
