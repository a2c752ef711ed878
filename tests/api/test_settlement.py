"""What it means that an attempt is gone, for every status and last word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.reconcile.settlement import Facts, Retry, Settle, Wait, settle
from rlhf_service.events import JobStopped
from rlhf_service.job import HOLDING, JobStatus, StopReason, can_move

last_words = st.none() | st.builds(
    JobStopped, reason=st.sampled_from(StopReason), message=st.just("m"), retryable=st.booleans()
)
facts = st.builds(
    Facts,
    has_result=st.booleans(),
    stopped=last_words,
    leftovers=st.sampled_from([(), ("actor",)]),
    overdue=st.booleans(),
    departed=st.booleans(),
    log_tail=st.text(max_size=50),
)
statuses = st.sampled_from(sorted(HOLDING))


@given(statuses, st.integers(0, 3), st.integers(1, 3), facts)
def test_every_verdict_can_be_carried_out(
    status: JobStatus, deaths: int, most: int, known: Facts
) -> None:
    verdict = settle(status, deaths, most, known)
    match verdict:
        case Settle(to, reason, _):
            assert can_move(status, to)
            if to.is_terminal:
                assert reason is not None
                assert reason.to_status() is to
        case Retry(_, died):
            assert deaths + 1 < most or not died
            assert status not in (JobStatus.CANCELLING, JobStatus.PAUSING)
        case Wait():
            assert known.leftovers


@given(statuses, st.integers(0, 3), facts)
def test_success_is_the_record_and_nothing_else(
    status: JobStatus, deaths: int, known: Facts
) -> None:
    verdict = settle(status, deaths, 3, known)
    says = isinstance(verdict, Settle) and verdict.status is JobStatus.SUCCEEDED
    assert says == known.has_result


@given(facts)
def test_cancelled_is_never_said_while_something_lives(known: Facts) -> None:
    verdict = settle(JobStatus.CANCELLING, 0, 3, known)
    if isinstance(verdict, Settle) and verdict.status is JobStatus.CANCELLED:
        assert not known.leftovers


def test_a_pause_by_an_alarm_becomes_a_pause_and_keeps_its_message() -> None:
    word = JobStopped(reason=StopReason.UNHEALTHY_PAUSED, message="alarm", retryable=False)
    known = Facts(has_result=False, stopped=word)
    assert settle(JobStatus.RUNNING, 0, 3, known) == Settle(JobStatus.PAUSING, message="alarm")
    assert settle(JobStatus.PAUSING, 0, 3, known) == Settle(JobStatus.PAUSED, message="alarm")
    cancelled = settle(JobStatus.CANCELLING, 0, 3, known)
    assert isinstance(cancelled, Settle) and cancelled.status is JobStatus.CANCELLED


def test_a_departure_by_plan_is_no_death() -> None:
    told = JobStopped(reason=StopReason.CANCELLED_BY_USER, message="told", retryable=True)
    for known in (
        Facts(has_result=False, stopped=None, departed=True),  # killed before its last word
        Facts(has_result=False, stopped=told),  # SIGTERM, or the hook of a pod that goes
    ):
        for deaths in range(5):
            verdict = settle(JobStatus.RUNNING, deaths, 1, known)
            assert isinstance(verdict, Retry) and not verdict.died
    crashed = settle(JobStatus.RUNNING, 0, 3, Facts(has_result=False, stopped=None))
    assert isinstance(crashed, Retry) and crashed.died


def test_what_is_wrong_with_a_job_stays_so_although_its_machine_goes() -> None:
    word = JobStopped(reason=StopReason.NON_FINITE_LOSS, message="NaN", retryable=False)
    verdict = settle(JobStatus.RUNNING, 0, 3, Facts(has_result=False, stopped=word, departed=True))
    assert isinstance(verdict, Settle) and verdict.reason is StopReason.NON_FINITE_LOSS
