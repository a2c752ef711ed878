"""KubeRay's operator, Kueue and the cluster behind a fake API: they do what tests say."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from tests.kuberay.objects import FINALIZER, FakeKubernetes, Object, now


@dataclass(frozen=True, slots=True)
class Operator:
    """Their hands."""

    api: FakeKubernetes

    def rayjob(self, name: str) -> Object:
        [found] = [
            o for (kind, _, n), o in self.api.objects.items() if kind == "rayjobs" and n == name
        ]
        return found

    def say(self, name: str, **status: object) -> None:
        """Change a RayJob's status."""
        with self.api.changed:
            found = copy.deepcopy(self.rayjob(name))
            found["status"] = {**found.get("status", {}), **status}
            self.api.store(("rayjobs", found["metadata"]["namespace"], name), found, "MODIFIED")

    def start(self, name: str, dashboard: str = "") -> None:
        """The cluster comes up, and the driver in it."""
        found = self.rayjob(name)
        cluster = f"{name}-abcde"
        spec = found["spec"]["rayClusterSpec"]
        place = found["metadata"]["namespace"]
        owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": "x"}
        labels = found["metadata"]["labels"]
        self._put("rayclusters", place, cluster, labels, owner)
        groups = [("head", 1, spec["headGroupSpec"])]
        groups += [(g["groupName"], g["replicas"], g) for g in spec["workerGroupSpecs"]]
        for group, count, made_of in groups:
            for index in range(count):
                own = {
                    **made_of["template"]["metadata"]["labels"],
                    "ray.io/cluster": cluster,
                    "ray.io/node-type": "head" if group == "head" else "worker",
                }
                by = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": cluster, "uid": "y"}
                self._put("pods", place, f"{cluster}-{group}-{index}", own, by)
        self.say(
            name,
            jobDeploymentStatus="Running",
            jobStatus="RUNNING",
            rayClusterName=cluster,
            dashboardURL=dashboard,
            jobId=found["spec"]["jobId"],
            startTime=now(),
        )

    def finish(self, name: str, job_status: str, ended: str = "") -> None:
        """The driver ends, and the deletion rules for `DeleteWorkers` do their work."""
        deployment = "Failed" if job_status == "FAILED" else "Complete"
        self.say(
            name,
            jobDeploymentStatus=deployment,
            jobStatus=job_status,
            endTime=ended or now(),
        )

    def take_pods(self, name: str, role: str = "") -> None:
        """Pods of a RayJob go: workers alone, or all of them and their cluster."""
        with self.api.changed:
            for key, found in list(self.api.objects.items()):
                labels = found["metadata"].get("labels", {})
                if labels.get("ray.io/cluster") != f"{name}-abcde":
                    continue
                if not role or labels["ray.io/node-type"] == role:
                    self.api.store(key, found, "DELETED")
            if not role:
                for key in [
                    k for k in self.api.objects if k[0] == "rayclusters" and k[2] == f"{name}-abcde"
                ]:
                    self.api.store(key, self.api.objects[key], "DELETED")
            self.api.collect()

    def release(self, name: str) -> None:
        """The operator has stopped the Ray job and takes its finalizer away."""
        with self.api.changed:
            found = self.rayjob(name)
            found["metadata"]["finalizers"].remove(FINALIZER)
            self.api.store(("rayjobs", found["metadata"]["namespace"], name), found, "MODIFIED")
            self.api.collect()

    def add_node(self, name: str, ready: str = "True", **allocatable: str) -> None:
        has = {
            key.replace("__", "/").replace("_", "."): value for key, value in allocatable.items()
        }
        body = {
            "metadata": {"name": name, "labels": {"pool": name.split("-")[0]}},
            "status": {"allocatable": has, "conditions": [{"type": "Ready", "status": ready}]},
        }
        with self.api.changed:
            self.api.store(("nodes", "", name), body, "ADDED")

    def _put(
        self, plural: str, namespace: str, name: str, labels: dict[str, str], owner: Object
    ) -> None:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        body: Object = {"metadata": {**metadata, "ownerReferences": [owner]}, "status": {}}
        if plural == "pods":
            body["status"] = {"phase": "Running"}
        with self.api.changed:
            self.api.store((plural, namespace, name), body, "ADDED")
