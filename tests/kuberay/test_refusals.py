"""What the launcher makes of a Kubernetes API that refuses, is unwell, or lets nobody in."""

from __future__ import annotations

import pytest

from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.launching import LaunchState


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
