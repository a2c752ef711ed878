"""States come from a watch of the Kubernetes API, which may be cut, be too old, or fall silent."""

from __future__ import annotations

from cluster.kuberay import mirror
from rlhf_service.errors import LauncherUnreachable
from rlhf_service.launching import LaunchState
from tests.kuberay.conftest import wait_until


def watched(kubernetes, launcher, request):
    """The request, once it is submitted and a watch tells of it."""
    launcher.submit(request)
    launcher.state(request.submission_id)
    wait_until(lambda: kubernetes.count("GET", "watch=1") == 1, "the watch")
    return request


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
    request = watched(kubernetes, launcher, make_request())
    kubernetes.cut_watches()
    operator.start(request.submission_id)
    wait_until(lambda: launcher.state(request.submission_id) is LaunchState.RUNNING, "the news")
    wait_until(lambda: kubernetes.count("GET", "watch=1") > 1, "the second watch")
    assert launcher._mirror.lists == 1


def test_a_watch_from_too_long_ago_lists_again(
    kubernetes, operator, launcher, make_request, monkeypatch
):
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    request = watched(kubernetes, launcher, make_request())
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
