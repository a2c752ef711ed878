"""Jobs as RayJobs: pods that hold what the job reserves, objects that KubeRay takes."""

from __future__ import annotations

import re
import subprocess
import sys
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kuberay.groups import pod_groups, roles_of
from cluster.kuberay.manifest import NAME_LIMIT, object_name, rayjob
from cluster.kuberay.quantity import quantity
from cluster.placement import group_size, learner_bundle, pools_bundles, slot
from rlhf_service.errors import SpecError
from tests.helm.schemas import faults_of, operator_faults
from tests.kuberay.conftest import job_spec, ppo_spec, settings_of

POOL = st.fixed_dictionaries(
    {
        "num_actors": st.integers(1, 12),
        "cpus_per_actor": st.sampled_from([0.25, 0.5, 1, 2, 4]),
        "gpus_per_actor": st.sampled_from([0, 0.25, 0.5, 1]),
    }
)
LEARNER = st.fixed_dictionaries(
    {
        "num_workers": st.sampled_from([1, 2, 4, 8, 16]),
        "cpus_per_worker": st.sampled_from([0.5, 1, 3, 8]),
        "gpus_per_worker": st.sampled_from([0, 0.5, 1, 2]),
    }
)


@given(learner=LEARNER, rollout=POOL, reward=POOL)
def test_pods_hold_every_process_and_no_pod_is_larger_than_a_node(learner, rollout, reward):
    spec = ppo_spec(learner=learner, rollout=rollout, reward=reward)
    settings = settings_of(pod_cpus=16, pod_gpus=8)
    groups = pod_groups(spec, settings)
    for group in groups:
        assert group.cpus <= 16 + 1e-6 and group.gpus <= 8 and group.replicas >= 1
    roles = roles_of(spec)
    if len(groups) == 1 and not groups[0].slots:
        assert groups[0].cpus == pytest.approx(sum(r.cpus * r.count for r in roles))
        assert groups[0].gpus == ceil(sum(r.gpus * r.count for r in roles))
        return
    assert [g.name for g in groups] == [r.name for r in roles]
    for group, role in zip(groups, roles, strict=True):
        [each] = group.slots.values()
        assert group.replicas * each >= role.count
        assert (group.replicas - 1) * each < role.count  # no pod stands empty
        assert group.cpus >= role.cpus * each - 1e-6 and group.gpus >= role.gpus * each - 1e-6


def test_the_slots_of_pods_are_those_that_bundles_take():
    spec = ppo_spec(learner={"num_workers": 16, "cpus_per_worker": 4}, rollout={"num_actors": 2})
    groups = {g.name: g for g in pod_groups(spec, settings_of(pod_cpus=16))}
    bundles = pools_bundles(spec.resources, slots=True)
    learners = [learner_bundle(spec.resources.learner) | slot("learner", True)] * 16
    for role, mine in (("learner", learners), ("rollout", bundles[:2]), ("reward", bundles[2:])):
        [(name, each)] = groups[role].slots.items()
        assert sum(bundle[name] for bundle in mine) <= groups[role].replicas * each
    assert not any(key.startswith("rlhf_") for b in pools_bundles(spec.resources) for key in b)


def test_pods_are_there_for_all_ranks_of_a_group_that_may_go_on_with_fewer():
    learner = {"num_workers": 2, "cpus_per_worker": 4}
    whole, elastic = ppo_spec(learner=learner), ppo_spec(learner=learner | {"min_workers": 1})
    settings = settings_of(pod_cpus=4)
    assert pod_groups(elastic, settings) == pod_groups(whole, settings)
    assert group_size(whole.resources.learner) == 2
    assert group_size(elastic.resources.learner) == (1, 2)


def test_a_process_larger_than_a_pod_is_refused_by_field():
    spec = ppo_spec(learner={"num_workers": 2, "cpus_per_worker": 20})
    with pytest.raises(SpecError, match=r"resources\.learner\.cpus_per_worker: one learner needs"):
        pod_groups(spec, settings_of(pod_cpus=16))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"queue": "team-a"},
        {"log_seconds": 0, "keep_seconds": 0},
        {"pod_cpus": 1},
        {"pod_gpus": 1},
    ],
    ids=["plain", "kueue", "gone at once", "small pods", "one GPU a node"],
)
@pytest.mark.parametrize("gpus", [0, 1])
def test_kuberay_takes_it(make_request, given, gpus):
    resources = {
        "learner": {"num_workers": 4, "cpus_per_worker": 0.5, "gpus_per_worker": gpus},
        "rollout": {"gpus_per_actor": gpus},
    }
    spec = ppo_spec(**resources)
    made = rayjob(make_request(), spec, settings_of(**given))
    assert faults_of(made) == [] and operator_faults(made) == []
    cluster = made["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        assert quantity(resources["limits"]["memory"]) >= 2**30
    needed = sum(role.gpus * role.count for role in roles_of(spec))
    reserved = sum(
        group["replicas"]
        * quantity(
            group["template"]["spec"]["containers"][0]["resources"]["limits"].get(
                "nvidia.com/gpu", 0
            )
        )
        for group in cluster["workerGroupSpecs"]
    )
    assert reserved >= needed and (reserved == 0) == (needed == 0)


def test_gpus_are_freed_before_the_head(make_request):
    made = rayjob(make_request(), job_spec(), settings_of(log_seconds=60, keep_seconds=600))
    rules = made["spec"]["deletionStrategy"]["deletionRules"]
    ends = {next(iter(r["condition"].items())) for r in rules}
    assert {value for _, value in ends} == {"SUCCEEDED", "FAILED", "Failed"}
    seconds = {(r["policy"], r["condition"]["ttlSeconds"]) for r in rules}
    assert seconds == {("DeleteWorkers", 0), ("DeleteCluster", 60), ("DeleteSelf", 600)}


def test_pods_checkpoint_before_they_go_within_their_grace(make_request):
    request = make_request(attempt=3)
    made = rayjob(request, job_spec(), settings_of())
    cluster = made["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[1:4] == ["-m", "cluster.leave", "--job"] and request.storage in command
        assert float(command[command.index("--seconds") + 1]) < pod["terminationGracePeriodSeconds"]
        labels = group["template"]["metadata"]["labels"]
        assert labels["rlhf/job"] == request.job_id and labels["rlhf/attempt"] == "3"


@given(st.text(max_size=80), st.integers(1, 10_000))
def test_names_are_ones_that_kubernetes_takes_and_differ(job_id, attempt):
    name = object_name(f"{job_id}-a{attempt}")
    assert len(name) <= NAME_LIMIT and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert name != object_name(f"{job_id}-a{attempt + 1}")


def test_ids_of_the_control_plane_are_names_as_they_are():
    from api.service.job_rows import new_job_id

    assert object_name(f"{new_job_id()}-a12").startswith("job-")
    assert object_name(f"{new_job_id()}-a12").endswith("-a12")


AMOUNTS = [("1500m", 1.5), ("4Gi", 4 * 2**30), ("2k", 2000), ("3", 3), ("1e3", 1000), ("0.5", 0.5)]


@pytest.mark.parametrize(("text", "value"), AMOUNTS)
def test_quantities(text, value):
    assert quantity(text) == value


def test_no_quantity():
    with pytest.raises(ValueError, match="many"):
        quantity("many")


def test_the_launcher_needs_nothing_heavy():
    """A control plane that makes RayJobs has no use for Ray itself."""
    heavy = ("ray", "torch", "transformers", "fastapi")
    code = (
        f"import cluster.kuberay.launcher, sys; print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
