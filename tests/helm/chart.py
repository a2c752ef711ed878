"""The chart through the real helm, and its README from values.yaml.

python -m tests.helm.chart        writes helm/rlhf-service/README.md
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.helm.binaries import binary

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "rlhf-service"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary("helm"), *arguments], capture_output=True, text=True, timeout=60)


@cache
def rendered(*arguments: str) -> list[dict[str, Any]]:
    """Every object of the chart, to be read only: rendered once. Raises AssertionError with what
    helm says.
    """
    done = run("template", "trainer", str(CHART), "--namespace", "rlhf", *arguments)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if found]


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's spec, with a name for messages."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, found["spec"]
        elif found["kind"] == "RayCluster":
            groups = [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]
            for group in groups:
                yield f"{name}/{group.get('groupName', 'head')}", group["template"]["spec"]
        elif found["kind"] == "ConfigMap" and "kuberay.yaml" in found["data"]:
            for template in ("head", "cpu_worker", "gpu_worker"):
                given = yaml.safe_load(found["data"]["kuberay.yaml"]).get(template)
                if given is not None:
                    yield f"{name}/{template}", given["spec"]
        elif "template" in found.get("spec", {}):
            yield name, found["spec"]["template"]["spec"]


def readme() -> str:
    """The chart's README: what to do, and every value with its comment and default."""
    rows = "\n".join(f"| `{key}` | {default} | {about} |" for key, default, about in values())
    return f"""# rlhf-service

A control plane, its migrations, and Ray on KubeRay: one cluster for all jobs (`launcher: ray`), or one
for each job (`launcher: kuberay`). Needs the KubeRay operator (1.5.1 or newer; for `launcher: kuberay`
with its feature gate `RayJobDeletionPolicy`, unless jobs wait in a Kueue queue), a PostgreSQL, and a
storage class with ReadWriteMany volumes whose files can be appended to and renamed.

```console
$ kubectl create secret generic rlhf-database --from-literal=url=postgresql://user:password@host/rlhf
$ helm install trainer helm/rlhf-service --set database.urlSecret=rlhf-database
$ helm test trainer
```

For a trial without a database of your own: `--set database.trial.enabled=true`.

Every pod meets the "restricted" pod security standard. Ray runs with token authentication; with network
policies on, only the control plane and the KubeRay operator reach it, and pods reach only what they
need: name reward services and trackers in `networkPolicy.egress`. Secrets are named, never given as
values; those made by the chart keep their values over upgrades. The storage claim outlives the release.

**Upgrade**: `helm upgrade` migrates the database before the new control plane starts; running jobs
go on. **Roll back** with `helm rollback` while both versions have the same schema; otherwise restore the
database from before the upgrade first (`/readyz` says when the schema is not the control plane's).

| value | default | |
|---|---|---|
{rows}

This file is written by `python -m tests.helm.chart`.
"""


def values() -> list[tuple[str, str, str]]:
    """(dotted name, default, comment) of every leaf of values.yaml."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    comments: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    said = ""
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("# -- "):
            said = stripped.removeprefix("# -- ")
        elif ":" in stripped and not stripped.startswith(("#", "-", "{")):
            indent = len(line) - len(line.lstrip())
            path = [(i, k) for i, k in path if i < indent] + [(indent, stripped.split(":")[0])]
            comments[".".join(k for _, k in path)] = said
            said = ""
    tree = yaml.safe_load("\n".join(lines))
    return [(key, f"`{value!r}`", comments.get(key, "")) for key, value in leaves(tree, "")]


def leaves(tree: dict[str, Any], prefix: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        whole = not isinstance(value, dict) or not value or key in ("requests", "limits")
        found += [(name, value)] if whole else leaves(value, f"{name}.")
    return found


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
