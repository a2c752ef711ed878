"""Who says whether there is room: the nodes, or Kueue."""

from __future__ import annotations

import math

import pytest

from rlhf_service.errors import LauncherUnreachable
from rlhf_service.launching import LaunchState
from tests.kuberay.conftest import wait_until


def test_a_queued_job_is_suspended_until_kueue_lets_it_in_and_comes_back_when_preempted(
    operator, make_launcher, make_request
):
    launcher = make_launcher(queue="team-a", labels={"kueue.x-k8s.io/priority-class": "low"})
    request = make_request()
    name = request.submission_id
    launcher.submit(request)
    found = operator.rayjob(name)
    assert found["spec"]["suspend"] is True and found["spec"]["shutdownAfterJobFinishes"] is True
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    operator.say(name, jobDeploymentStatus="Suspended")
    wait_until(lambda: launcher.state(name) is LaunchState.PENDING, "that it waits")

    launcher.suspend(name, False)
    assert operator.rayjob(name)["spec"]["suspend"] is False
    operator.start(name)
    wait_until(lambda: launcher.state(name) is LaunchState.RUNNING, "that it runs")

    launcher.suspend(name)
    operator.say(name, jobDeploymentStatus="Suspending")
    operator.take_pods(name)
    operator.say(name, jobDeploymentStatus="Suspended", jobStatus="")
    wait_until(lambda: launcher.state(name) is LaunchState.PENDING, "that it waits again")
    assert launcher.leftovers(request.job_id) == [f"RayJob {name}"]


def test_capacity_is_that_of_ready_nodes(operator, make_launcher):
    operator.add_node("cpu-1", cpu="3920m", memory="16Gi")
    operator.add_node("gpu-1", cpu="8", nvidia_com__gpu="4")
    operator.add_node("gpu-2", cpu="8", nvidia_com__gpu="4", ready="False")
    found = make_launcher().capacity()
    assert (found.cpus, found.gpus) == (pytest.approx(11.92), 4)
    assert make_launcher(node_selector={"pool": "gpu"}).capacity().cpus == 8


def test_capacity_in_a_queue_is_kueues_business(kubernetes, make_launcher, account):
    launcher = make_launcher(queue="team-a")
    assert launcher.capacity().cpus == math.inf
    assert make_launcher(capacity="unlimited", gpu_worker=None).capacity().gpus == 0
    kubernetes.down = True
    with pytest.raises(LauncherUnreachable):
        launcher.capacity()
