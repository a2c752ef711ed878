"""The KubeRay launcher against an HTTP server that behaves as the Kubernetes API."""

from __future__ import annotations

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from cluster.kuberay import mirror
from cluster.kuberay.api import server_of
from cluster.kuberay.settings import KubeRaySettings
from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.launching import LaunchState
from tests.kuberay.conftest import POD, wait_until


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


def test_a_name_that_is_taken_is_refused(kubernetes, launcher, make_launcher, make_request):
    launcher.submit(make_request())
    with pytest.raises(LauncherError, match="somebody else's"):
        make_launcher(instance="other").submit(make_request())


def test_an_answer_that_comes_too_late_makes_no_second_rayjob(kubernetes, launcher, make_request):
    request = make_request()
    kubernetes.ailing.append("late")
    with pytest.raises(LauncherUnreachable):
        launcher.submit(request)
    launcher.submit(request)
    assert sum(plural == "rayjobs" for plural, _, _ in kubernetes.objects) == 1
    assert launcher.state(request.submission_id) is LaunchState.PENDING


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_api_that_is_unwell_is_unreachable_not_unwilling(
    kubernetes, launcher, make_request, code
):
    kubernetes.ailing.append(code)
    with pytest.raises(LauncherUnreachable, match=str(code)):
        launcher.submit(make_request())


def test_what_the_api_finds_invalid_is_a_refusal_in_its_words(make_launcher, make_request):
    launcher = make_launcher(cpu_worker={"spec": {"containers": [{"imagee": "x", "name": "ray"}]}})
    with pytest.raises(LauncherError, match="imagee") as raised:
        launcher.submit(make_request())
    assert not isinstance(raised.value, LauncherUnreachable)


def test_a_job_that_no_pod_can_hold_is_a_refusal(make_launcher, make_request):
    launcher = make_launcher(gpu_worker=None)
    with pytest.raises(LauncherError, match=r"gpus_per_worker.*no GPU workers"):
        launcher.submit(make_request(learner={"gpus_per_worker": 1}))


def test_a_renewed_token_is_read_again(kubernetes, operator, launcher, account, make_request):
    request = make_request()
    launcher.submit(request)
    kubernetes.tokens = {"second-token"}
    with pytest.raises(LauncherUnreachable, match="token is not accepted"):
        launcher.stop(request.submission_id)
    (account / "token").write_text("second-token")
    launcher.stop(request.submission_id)
    assert operator.rayjob(request.submission_id)["metadata"]["deletionTimestamp"]


def test_no_account_says_where_it_should_be(make_launcher, tmp_path):
    launcher = make_launcher()
    (tmp_path / "account" / "token").unlink()
    with pytest.raises(LauncherUnreachable, match="no service account token"):
        launcher.leftovers("job-1")


def test_the_secret_is_in_a_private_file_and_nowhere_else(operator, launcher, make_request):
    request = make_request()
    launcher.submit(request)
    assert "a-secret" not in json.dumps(operator.rayjob(request.submission_id))
    environment = yaml.safe_load(operator.rayjob(request.submission_id)["spec"]["runtimeEnvYAML"])
    path = environment["env_vars"]["RLHF_EVENTS_TOKEN_FILE"]
    with open(path, encoding="utf-8") as file:
        assert file.read() == "a-secret"


# The watch


def test_states_come_from_the_watch_and_not_from_one_request_each(
    kubernetes, operator, launcher, make_request
):
    requests = [make_request(job_id=f"job-{n:04}") for n in range(20)]
    for request in requests:
        launcher.submit(request)
        operator.start(request.submission_id)
    wait_until(
        lambda: all(launcher.state(r.submission_id) is LaunchState.RUNNING for r in requests),
        "that all run",
    )
    before = kubernetes.count("GET", "/rayjobs/")
    for _ in range(5):
        assert all(launcher.state(r.submission_id) is LaunchState.RUNNING for r in requests)
    assert kubernetes.count("GET", "/rayjobs/") == before


def test_a_watch_that_is_cut_goes_on_where_it_was(
    kubernetes, operator, launcher, make_request, monkeypatch
):
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    request = make_request()
    launcher.submit(request)
    launcher.state(request.submission_id)
    wait_until(lambda: kubernetes.count("GET", "watch=1") == 1, "the watch")
    kubernetes.cut_watches()
    operator.start(request.submission_id)
    wait_until(lambda: launcher.state(request.submission_id) is LaunchState.RUNNING, "the news")
    wait_until(lambda: kubernetes.count("GET", "watch=1") > 1, "the second watch")
    assert launcher._mirror.lists == 1


def test_a_watch_from_too_long_ago_lists_again(
    kubernetes, operator, launcher, make_request, monkeypatch
):
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    request = make_request()
    launcher.submit(request)
    launcher.state(request.submission_id)
    wait_until(lambda: kubernetes.count("GET", "watch=1") == 1, "the watch")
    kubernetes.forget()
    kubernetes.cut_watches()
    wait_until(lambda: launcher._mirror.lists == 2, "the second list")
    operator.start(request.submission_id)
    wait_until(lambda: launcher.state(request.submission_id) is LaunchState.RUNNING, "the news")


def test_while_nobody_answers_nothing_is_claimed(
    kubernetes, operator, launcher, make_request, monkeypatch
):
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    request = make_request()
    launcher.submit(request)
    operator.start(request.submission_id)
    wait_until(lambda: launcher.state(request.submission_id) is LaunchState.RUNNING, "that it runs")
    kubernetes.down = True
    kubernetes.cut_watches()

    def unreachable() -> bool:
        try:
            launcher.state(request.submission_id)
        except LauncherUnreachable:
            return True
        return False

    wait_until(unreachable, "that the loss is noticed")
    kubernetes.down = False
    operator.say(request.submission_id, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    wait_until(
        lambda: not unreachable() and launcher.state(request.submission_id) is LaunchState.ENDED,
        "that it is seen again",
    )


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


# Kueue


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


# Capacity


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


# Logs


def test_logs_are_those_of_the_dashboard_then_of_the_folder_then_of_the_operator(
    operator, launcher, make_request, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray-secret")
    asked = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["authorization"]))
            content = json.dumps({"logs": "epoch 1"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    request = make_request()
    name = request.submission_id
    launcher.submit(request)
    assert launcher.logs(name) == ""
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    operator.start(name, dashboard=f"127.0.0.1:{server.server_port}")
    wait_until(lambda: launcher.logs(name) == "epoch 1", "the dashboard's log")
    assert asked[0] == (f"/api/jobs/{name}/logs", "Bearer ray-secret")
    server.shutdown()
    server.server_close()

    operator.say(name, jobDeploymentStatus="Failed", reason="AppFailed", message="exit 1")
    wait_until(lambda: launcher.logs(name) == "AppFailed: exit 1", "the operator's word")
    (launcher._jobs / request.job_id / "driver-a1.log").write_text("the driver failed")
    assert launcher.logs(name) == "the driver failed"


# Settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespace: Rlhf!", "namespace"),
        ("namespace: rlhf\nhead: {}", "head: Value error, a pod template"),
        ("namespace: rlhf\nimage: x", "image: Extra"),
        ("namespace: [", "no YAML"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path, text, said):
    path = tmp_path / "kuberay.yaml"
    whole = {"namespace": "n", "auth_secret": "s", "head": POD, "cpu_worker": POD}
    if text is not None:
        path.write_text(text if "[" in text else yaml.safe_dump(whole | yaml.safe_load(text)))
    with pytest.raises(LauncherError, match=said):
        KubeRaySettings.read(path)


def test_in_a_pod_the_server_is_known_and_elsewhere_it_must_be_named(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(LauncherError, match="api_server"):
        server_of("")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert server_of("") == "https://[fd00::1]:443"
