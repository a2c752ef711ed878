"""The Helm chart through the real helm: every object against its schema and our policies."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.settings import Settings
from cluster.kuberay.manifest import rayjob
from cluster.kuberay.settings import KubeRaySettings
from rlhf_service.launching import LaunchRequest
from tests.helm.chart import CHART, pods, readme, rendered, run
from tests.helm.schemas import faults_of, operator_faults
from tests.kuberay.conftest import ppo_spec

pytestmark = pytest.mark.usefixtures("real_helm")

HERE = Path(__file__).parent
MATRIX = sorted((HERE / "values").glob("*.yaml"))
KUBERNETES = "1.34"


@pytest.fixture(params=MATRIX, ids=lambda path: path.stem, scope="session")
def objects(request) -> list[dict[str, Any]]:
    return rendered("--values", str(request.param))


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.stem)
def test_lint(values):
    done = run("lint", str(CHART), "--strict", "--values", str(values))
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
    assert {"Deployment", "Service", "Job", "PodDisruptionBudget"} <= kinds
    assert ("RayCluster" in kinds) != ("ConfigMap" in kinds and launcher_file(objects) is not None)


def test_kubectl_reads_every_object(kubectl, objects):
    """Without a server. Workloads go through its own types, which keep no field they do not know."""

    def local(objects: list[dict[str, Any]], *verb: str, output: str) -> str:
        done = subprocess.run(
            [kubectl, *verb, "--local", "--filename", "-", "--output", output],
            input=yaml.safe_dump_all(objects),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    named = local(objects, "annotate", "checked=yes", output="name").split()
    assert [name.rpartition("/")[2] for name in named] == [o["metadata"]["name"] for o in objects]
    workloads = [o for o in objects if o["kind"] in ("Deployment", "Job", "StatefulSet")]
    for workload in workloads:
        read = json.loads(local([workload], "set", "serviceaccount", "checked", output="json"))
        pod = workload["spec"]["template"]["spec"]
        wanted = {**workload["spec"]["template"], "spec": {**pod, "serviceAccountName": "checked"}}
        assert kept(wanted, read["spec"]["template"])
        assert kept({**workload["spec"], "template": {}}, read["spec"])
    assert workloads


def kept(wanted: Any, read: Any) -> bool:
    """Whether all that is wanted was read; what kubectl adds by itself does not matter."""
    if isinstance(wanted, dict):
        return all(
            name in read and kept(value, read[name])
            for name, value in wanted.items()
            if value not in (None, {}, [])
        )
    if isinstance(wanted, list):
        return len(wanted) == len(read) and all(map(kept, wanted, read))
    return wanted == read


def test_the_check_of_custom_objects_sees_what_is_wrong():
    objects = rendered("--values", str(HERE / "values" / "trial.yaml"))
    [cluster] = copy.deepcopy([found for found in objects if found["kind"] == "RayCluster"])
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


def launcher_file(objects: list[dict[str, Any]]) -> str | None:
    """What the launcher is configured with, where jobs have clusters of their own."""
    files = [f["data"].get("kuberay.yaml") for f in objects if f["kind"] == "ConfigMap"]
    return next((text for text in files if text), None)


def cluster_spec(objects: list[dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """Of the one cluster, or of the one that the launcher makes for a job of 9 GPUs or 40 CPUs."""
    text = launcher_file(objects)
    if text is None:
        [cluster] = [found for found in objects if found["kind"] == "RayCluster"]
        return cluster["spec"]
    (tmp_path / "kuberay.yaml").write_text(text)
    settings = KubeRaySettings.read(tmp_path / "kuberay.yaml")
    learner = {"num_workers": 8, "cpus_per_worker": 4}
    if settings.gpu_worker is not None:
        learner["gpus_per_worker"] = 1
    request = LaunchRequest(
        job_id="job-1",
        attempt=1,
        job_name="a job",
        storage="/storage/jobs/job-1",
        events_url="http://trainer:8000/v1/internal/jobs/job-1/events",
        events_token="secret",
    )
    made = rayjob(request, ppo_spec(learner=learner), settings)
    assert faults_of(made) == [] and operator_faults(made) == []
    return made["spec"]["rayClusterSpec"]


def test_the_cluster_waits_for_checkpoints_and_keeps_jobs_off_the_head(objects, tmp_path):
    spec = cluster_spec(objects, tmp_path)
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 60
        memory = {v["name"]: v for v in pod["volumes"]}["shared-memory"]
        assert memory["emptyDir"]["medium"] == "Memory"
        assert "preStop" in pod["containers"][0]["lifecycle"]
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    assert len({group.get("groupName") for group in groups}) == len(groups)


def test_settings_are_ones_that_the_control_plane_knows(objects):
    known = {f"RLHF_{name.upper()}" for name in Settings.model_fields}
    for _, pod in pods(objects):
        for container in pod["containers"]:
            given = {v["name"] for v in container.get("env", []) if v["name"].startswith("RLHF_")}
            assert given <= known


def policies(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [o for o in objects if o["kind"] == "NetworkPolicy"]
    return {o["metadata"]["name"]: o["spec"] for o in found}


def ports(rule: dict[str, Any]) -> list[int]:
    return [port["port"] for port in rule.get("ports", [])]


def test_only_the_control_plane_and_the_operator_reach_ray():
    objects = rendered("--values", str(HERE / "values" / "everything.yaml"))
    among, jobs, metrics = policies(objects)["trainer-ray"]["ingress"]
    assert "ports" not in among and len(among["from"]) == 1
    assert ports(jobs) == [8265] and len(jobs["from"]) == 2
    assert ports(metrics) == [8080] and len(metrics["from"]) == 1


def test_policies_close_both_ways_and_leave_names_open(objects):
    found = policies(objects)
    for name, policy in found.items():
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}, name
        for rule in policy["ingress"]:
            assert rule, f"{name} lets everyone in on every port"
        for rule in policy["egress"]:
            assert "to" in rule or "ports" in rule, f"{name} lets everything out"
        if not name.endswith("-database"):
            assert any(ports(rule) == [53, 53] for rule in policy["egress"]), name


def test_service_accounts_may_do_no_more_than_they_need(objects):
    rules = [
        (o["kind"], rule)
        for o in objects
        if o["kind"] in ("Role", "ClusterRole")
        for rule in o["rules"]
    ]
    for kind, rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"secrets", "pods/exec", "roles", "rolebindings"} & set(rule["resources"])
        if kind == "ClusterRole":
            assert rule == {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    jobs = [rule for _, rule in rules if "rayjobs" in rule["resources"]]
    assert bool(jobs) == (launcher_file(objects) is not None)


def test_monitors_select_what_there_is():
    objects = rendered("--values", str(HERE / "values" / "everything.yaml"))
    by_kind = {o["kind"]: o for o in objects}
    wanted = by_kind["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    [service] = [
        o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == "trainer"
    ]
    assert wanted.items() <= service["metadata"]["labels"].items()
    [endpoint] = by_kind["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    secret = endpoint["authorization"]["credentials"]
    [pod] = [p for name, p in pods(objects) if name.startswith("Deployment/")]
    [token] = [v for v in pod["containers"][0]["env"] if v["name"] == "RLHF_METRICS_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == secret
    assert by_kind["PodMonitor"]["metadata"]["labels"]["release"] == "prometheus"


def test_whoever_copies_files_has_the_credentials():
    objects = rendered("--values", str(HERE / "values" / "kuberay.yaml"))
    found = dict(pods(objects))
    for name, pod in found.items():
        if name.startswith(("Deployment/", "ConfigMap/")):
            secrets = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"]]
            assert secrets == ["bucket"], name


BAD = [
    ("image.worker=rlhf-service/worker-cpu:latest", "worker"),
    ("image.worker=rlhf-service/worker-cpu", "worker"),
    ("controlPlane.replicas=0", "replicas"),
    ("controlPlane.replica=2", "replica"),
    ("controlPlane.settings.HOME=x", "HOME"),
    ("ray.version=latest", "version"),
    ("ray.terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds"),
    ("ray.cpuWorkers.resources.limits.cpu=many", "cpu"),
    ("ray.gpuWorkers.vllmPython=python", "vllmPython"),
    ("ray.autoscaling.growthSeconds=0", "growthSeconds"),
    ("storage.size=big", "size"),
    ("database.urlSecret=Not_A_Name", "urlSecret"),
    ("launcher=slurm", "launcher"),
    ("kuberay.queue=-a", "queue"),
    ("kuberay.podGpus=-1", "podGpus"),
    ("storage.csi.driver=csi.juicefs.com", "volumeHandle"),
    ("ray.faultTolerance.redisAddress=redis", "redisAddress"),
    ("monitoring.interval=often", "interval"),
    ("storage.artefacts=bucket", "artefacts"),
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
