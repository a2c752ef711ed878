"""The KubeRay launcher against an HTTP server that behaves as the Kubernetes API."""

from __future__ import annotations

import json

import pytest
import yaml

from rlhf_service.launching import LaunchState
from tests.kuberay.conftest import wait_until


def test_an_attempt_from_submission_to_nothing_left(kubernetes, operator, launcher, make_request):
    request = make_request()
    name = request.submission_id
    assert launcher.state(name) is LaunchState.UNKNOWN

    launcher.submit(request)
    assert launcher.state(name) is LaunchState.PENDING
    launcher.submit(request)  # the same attempt again: nothing happens
    assert kubernetes.count("POST", "rayjobs") == 2
    assert sum(plural == "rayjobs" for plural, _, _ in kubernetes.objects) == 1

    operator.start(name)
    wait_until(lambda: launcher.state(name) is LaunchState.RUNNING, "that it runs")
    left = launcher.leftovers(request.job_id)
    assert f"RayJob {name}" in left and f"pod {name}-abcde-worker-0" in left
    assert launcher.leftovers(request.job_id[:-1]) == []  # a prefix of an id is another job

    operator.finish(name, "SUCCEEDED")
    wait_until(lambda: launcher.state(name) is LaunchState.ENDED, "its end")
    # The head stays for its logs by rule and counts as nothing left; workers hold room.
    assert launcher.leftovers(request.job_id) == [f"pod {name}-abcde-worker-0"]
    operator.take_pods(name, "worker")
    assert launcher.leftovers(request.job_id) == []


def test_stopping_waits_for_finalizers_and_for_what_it_owns(operator, launcher, make_request):
    request = make_request()
    name = request.submission_id
    launcher.submit(request)
    operator.start(name)
    launcher.stop(name)
    wait_until(lambda: launcher.state(name) is LaunchState.RUNNING, "that it is being stopped")
    assert operator.rayjob(name)["metadata"]["deletionTimestamp"]
    operator.release(name)
    assert launcher.state(name) is LaunchState.RUNNING  # its pods checkpoint
    operator.take_pods(name)
    wait_until(lambda: launcher.state(name) is LaunchState.UNKNOWN, "that it is gone")
    assert launcher.leftovers(request.job_id) == []
    launcher.stop(name)  # already gone: nothing happens
    launcher.stop("job-unheard-of-a1")


def test_what_lives_is_listed_and_what_is_left_is_removed(operator, launcher, make_request):
    request = make_request()
    name = request.submission_id
    assert launcher.inventory().submissions == []
    launcher.submit(request)
    operator.start(name)
    [found] = launcher.inventory().submissions
    assert (found.job_id, found.attempt) == (request.job_id, request.attempt)
    assert found.submission_id == name
    operator.finish(name, "FAILED")
    assert launcher.inventory().submissions == []
    assert launcher.leftovers(request.job_id) == [f"pod {name}-abcde-worker-0"]
    launcher.remove(request.job_id)
    assert operator.rayjob(name)["metadata"]["deletionTimestamp"]
    operator.release(name)
    operator.take_pods(name)
    assert launcher.leftovers(request.job_id) == []
    launcher.remove(request.job_id)  # nothing left: nothing happens


STATES = [
    ({}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "Initializing"}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "Running", "jobStatus": ""}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, LaunchState.RUNNING),
    ({"jobDeploymentStatus": "Running", "jobStatus": "FAILED"}, LaunchState.ENDED),
    ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, LaunchState.ENDED),
    ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, LaunchState.ENDED),
    ({"jobDeploymentStatus": "Failed", "jobStatus": ""}, LaunchState.ENDED),
    ({"jobDeploymentStatus": "ValidationFailed"}, LaunchState.ENDED),
    ({"jobDeploymentStatus": "Suspending", "jobStatus": "RUNNING"}, LaunchState.RUNNING),
    ({"jobDeploymentStatus": "Suspended", "jobStatus": ""}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "Retrying"}, LaunchState.PENDING),
    ({"jobDeploymentStatus": "SomethingNew"}, LaunchState.PENDING),
]


@pytest.mark.parametrize(("status", "state"), STATES)
def test_every_status_of_the_operator_has_a_meaning(
    operator, launcher, make_request, status, state
):
    request = make_request()
    launcher.submit(request)
    operator.say(request.submission_id, **status)
    wait_until(lambda: launcher.state(request.submission_id) is state, f"{status} as {state}")


def test_the_secret_is_in_a_private_file_and_nowhere_else(operator, launcher, make_request):
    request = make_request()
    launcher.submit(request)
    assert "a-secret" not in json.dumps(operator.rayjob(request.submission_id))
    environment = yaml.safe_load(operator.rayjob(request.submission_id)["spec"]["runtimeEnvYAML"])
    path = environment["env_vars"]["RLHF_EVENTS_TOKEN_FILE"]
    with open(path, encoding="utf-8") as file:
        assert file.read() == "a-secret"


def test_objects_long_over_are_deleted(operator, make_launcher, make_request):
    old, new = make_request(job_id="job-old"), make_request(job_id="job-new")
    first = make_launcher(keep_seconds=600)
    first.submit(old)
    first.submit(new)
    # A driver that somebody else stopped: no deletion rule knows such an end.
    operator.finish(old.submission_id, "STOPPED", ended="2020-01-01T00:00:00Z")
    operator.finish(new.submission_id, "STOPPED")
    second = make_launcher(keep_seconds=600)
    second.state(new.submission_id)
    wait_until(
        lambda: "deletionTimestamp" in operator.rayjob(old.submission_id)["metadata"],
        "the old one's end",
    )
    assert "deletionTimestamp" not in operator.rayjob(new.submission_id)["metadata"]
