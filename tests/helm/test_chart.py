"""The Helm chart through the real helm: every object against its schema and our policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from api.settings import Settings
from tests.helm.chart import CHART, NoHelm, helm, readme, rendered, run
from tests.helm.schemas import faults_of

HERE = Path(__file__).parent
MATRIX = sorted((HERE / "values").glob("*.yaml"))
KUBERNETES = "1.34"


@pytest.fixture(autouse=True, scope="module")
def _helm() -> None:
    try:
        helm()
    except NoHelm as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=MATRIX, ids=lambda path: path.stem)
def objects(request) -> list[dict[str, Any]]:
    return rendered("--values", str(request.param))


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
        elif "template" in found.get("spec", {}):
            yield name, found["spec"]["template"]["spec"]


def test_lint():
    done = run("lint", str(CHART), "--strict", "--values", str(HERE / "values" / "trial.yaml"))
    assert done.returncode == 0, done.stdout


def test_every_object_is_valid(objects):
    kinds = set()
    for found in objects:
        group = found["apiVersion"].rpartition("/")[0]
        kinds.add(found["kind"])
        if group == "ray.io":
            assert not faults_of(found)
        elif group != "monitoring.coreos.com":
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
    assert {"Deployment", "Service", "RayCluster", "Job", "PodDisruptionBudget"} <= kinds


def test_the_check_of_custom_objects_sees_what_is_wrong():
    objects = rendered("--values", str(HERE / "values" / "trial.yaml"))
    [cluster] = [found for found in objects if found["kind"] == "RayCluster"]
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    cluster["spec"]["workerGroupSpecs"][0]["minReplicas"] = "none"
    unknown, wrong = sorted(faults_of(cluster))
    assert "imagee" in unknown and "workerGroupSpecs.0.minReplicas" in wrong


def test_pods_are_restricted(objects):
    names = []
    for name, pod in pods(objects):
        names.append(name)
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0, name
        assert context["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert "privileged" not in own, name
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][kind].keys(), name
            assert not container["image"].endswith(":latest") and ":" in container["image"], name
            for variable in container.get("env", []):
                secret = any(w in variable["name"] for w in ("TOKEN", "PASSWORD", "KEY", "URL"))
                literal = variable.get("value", "")
                harmless = literal.startswith("http://")
                assert not (secret and literal and not harmless), (name, variable)
        for volume in pod.get("volumes", []):
            assert "hostPath" not in volume, name
        if "ray" not in name.lower():
            assert pod["automountServiceAccountToken"] is False, name
            assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in pod["containers"])
    assert len(names) >= 5


def test_the_cluster_waits_for_checkpoints_and_keeps_jobs_off_the_head(objects):
    [cluster] = [found for found in objects if found["kind"] == "RayCluster"]
    spec = cluster["spec"]
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 60
        memory = {v["name"]: v for v in pod["volumes"]}["shared-memory"]
        assert memory["emptyDir"]["medium"] == "Memory"
    assert len({group.get("groupName") for group in groups}) == len(groups)


def test_settings_are_ones_that_the_control_plane_knows(objects):
    known = {f"RLHF_{name.upper()}" for name in Settings.model_fields}
    for _, pod in pods(objects):
        for container in pod["containers"]:
            given = {v["name"] for v in container.get("env", []) if v["name"].startswith("RLHF_")}
            assert given <= known


def test_only_the_control_plane_and_the_operator_reach_ray():
    objects = rendered("--values", str(HERE / "values" / "everything.yaml"))
    [policy] = [
        found
        for found in objects
        if found["kind"] == "NetworkPolicy" and found["metadata"]["name"].endswith("-ray")
    ]
    among, jobs, metrics = policy["spec"]["ingress"]
    assert "ports" not in among and len(among["from"]) == 1
    assert [p["port"] for p in jobs["ports"]] == [8265] and len(jobs["from"]) == 2
    assert [p["port"] for p in metrics["ports"]] == [8080]


BAD = [
    ("image.worker=rlhf-service/worker-cpu:latest", "worker"),
    ("image.worker=rlhf-service/worker-cpu", "worker"),
    ("controlPlane.replicas=0", "replicas"),
    ("controlPlane.replica=2", "replica"),
    ("controlPlane.settings.HOME=x", "HOME"),
    ("ray.version=latest", "version"),
    ("ray.terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds"),
    ("ray.cpuWorkers.resources.limits.cpu=many", "cpu"),
    ("storage.size=big", "size"),
    ("database.urlSecret=Not_A_Name", "urlSecret"),
]


@pytest.mark.parametrize(("value", "named"), BAD)
def test_bad_values_are_refused_by_name(value, named):
    base = ["--values", str(HERE / "values" / "trial.yaml")]
    done = run("template", "trainer", str(CHART), *base, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_a_database_must_be_named():
    done = run("template", "trainer", str(CHART))
    assert done.returncode != 0 and "database.urlSecret" in done.stderr


def test_the_readme_is_that_of_the_values():
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme()
