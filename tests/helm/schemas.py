"""KubeRay's own schemas as strict judges of custom objects."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parent / "crds"


@cache
def validator(kind: str, version: str) -> Draft202012Validator:
    """Parsed once: each definition has a megabyte."""
    path = CRDS / f"ray.io_{kind.lower()}s.yaml"
    crd = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    [schema] = [
        known["schema"]["openAPIV3Schema"]
        for known in crd["spec"]["versions"]
        if known["name"] == version
    ]
    return Draft202012Validator(strict(schema))


def faults_of(found: dict[str, Any]) -> list[str]:
    """What the CRD of a custom object has against it."""
    version = found["apiVersion"].rpartition("/")[2]
    errors = validator(found["kind"], version).iter_errors(found)
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors]


def strict(schema: Any) -> Any:
    """A CRD's schema that also refuses fields it does not know, as the API server prunes them."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    open_ended = found.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(found.get("properties"), dict) and "type" in found and not open_ended:
        if set(found["properties"]) >= {"apiVersion", "kind"}:
            found["properties"]["metadata"] = {"type": "object"}
        found.setdefault("additionalProperties", False)
    return found


def operator_faults(rayjob: dict[str, Any]) -> list[str]:
    """What KubeRay's operator refuses that its schema lets pass."""
    spec, name = rayjob["spec"], rayjob["metadata"]["name"]
    cluster, strategy = spec["rayClusterSpec"], spec.get("deletionStrategy")
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    rules = (strategy or {}).get("deletionRules", [])
    faults = []
    if len(name) > 47 or not name[0].isalpha():
        faults.append("name: a DNS label of at most 47 characters that begins with a letter")
    if spec.get("suspend") and not shutdown:
        faults.append("suspend needs shutdownAfterJobFinishes")
    if spec.get("ttlSecondsAfterFinished") and not shutdown:
        faults.append("ttlSecondsAfterFinished needs shutdownAfterJobFinishes")
    if strategy is not None and not rules:
        faults.append("deletionStrategy has no rules")
    if rules and shutdown:
        faults.append("deletionRules and shutdownAfterJobFinishes exclude each other")
    order = ["DeleteWorkers", "DeleteCluster", "DeleteSelf"]
    by_end: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for rule in rules:
        condition = dict(rule["condition"])
        seconds = condition.pop("ttlSeconds", 0)
        if len(condition) != 1:
            faults.append("a deletion condition has jobStatus or jobDeploymentStatus")
        [end] = condition.items()
        by_end.setdefault(end, []).append((order.index(rule["policy"]), seconds))
    for end, stages in by_end.items():
        if len({policy for policy, _ in stages}) != len(stages):
            faults.append(f"{end}: one rule for each policy")
        seconds = [after for _, after in sorted(stages)]
        if seconds != sorted(seconds):
            faults.append(f"{end}: workers go before the cluster, and it before the object")
    autoscaled = cluster.get("enableInTreeAutoscaling", False)
    if autoscaled and any(rule["policy"] == "DeleteWorkers" for rule in rules):
        faults.append("DeleteWorkers does not go with autoscaling")
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        taken = {"num-cpus", "num-gpus", "memory", "resources"} & group["rayStartParams"].keys()
        if taken and group.get("resources"):
            faults.append(f"{group.get('groupName', 'head')}: resources are given twice")
    if cluster.get("authOptions", {}).get("mode") == "token" and not cluster.get("rayVersion"):
        faults.append("token authentication needs rayVersion")
    if "kueue.x-k8s.io/queue-name" in rayjob["metadata"].get("labels", {}):
        if not (shutdown and spec.get("suspend")) or autoscaled:
            faults.append("Kueue starts it suspended, shuts it down, and scales nothing")
        if len(cluster["workerGroupSpecs"]) > 17:
            faults.append("Kueue takes at most 17 worker groups")
    return faults
