"""The report of a job's log: the newest counts, nothing of a model's text runs, no request leaves."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from rlhf_service.events import (
    AlarmRaised,
    Difference,
    EvaluationCompared,
    EvaluationCompleted,
    PromptQuarantined,
    Sample,
    StageCompleted,
    StageStarted,
    StatusChanged,
    StepCompleted,
)
from rlhf_service.job import JobStatus
from rlhf_service.report.collect import JobReport, collect
from rlhf_service.report.page import page
from rlhf_service.reports import SupervisedReport
from tests.stored import stored
from tests.unit.test_health import HEALTHY

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def kept(events):
    return [stored(event, seq, "a1-learner-1") for seq, event in enumerate(events, start=1)]


def supervised(step, loss, validation=None):
    report = SupervisedReport(
        loss=loss,
        tokens=10,
        grad_norm=1.0,
        learning_rate=1e-3,
        seconds=0.5,
        tokens_per_second=20.0,
        validation_loss=validation,
    )
    return StepCompleted(stage="sft", step=step, steps=3, report=report)


def ppo(step, **changes):
    report = HEALTHY.model_copy(update=changes)
    return StepCompleted(stage="ppo", step=step, steps=2, report=report)


def evaluation(step, mean):
    sample = Sample(prompt=EVIL, response=f"{EVIL} {step}", score=mean)
    return EvaluationCompleted(
        stage="ppo",
        step=step,
        mean=mean,
        standard_error=0.1,
        n=2,
        scores=(mean, mean),
        samples=(sample,),
    )


LOG = [
    StatusChanged(status=JobStatus.RUNNING),
    StageStarted(stage="sft", kind="sft", steps=3, from_step=0),
    supervised(1, 3.0),
    supervised(2, 9.9),
    StageStarted(stage="sft", kind="sft", steps=3, from_step=1),
    supervised(2, 2.0),
    supervised(3, 1.5, validation=1.7),
    StageCompleted(stage="sft", model_path="/m", seconds=4.0),
    StageStarted(stage="ppo", kind="ppo", steps=2, from_step=0),
    evaluation(0, 0.25),
    ppo(1),
    PromptQuarantined(stage="ppo", step=1, prompt=4, message="late"),
    PromptQuarantined(stage="ppo", step=1, prompt=4, message="late"),
    ppo(2, score_mean=0.75, kl=6.0),
    AlarmRaised(
        stage="ppo", step=2, alarm="kl_per_token", value=2.0, threshold=1.0, advice="raise it"
    ),
    evaluation(2, 0.75),
    EvaluationCompared(
        stage="ppo",
        step=2,
        differences=(
            Difference(
                name="reward",
                before=0.25,
                after=0.75,
                difference=0.5,
                low=0.4,
                high=0.6,
                p_value=0.001,
                n=2,
            ),
        ),
    ),
    StatusChanged(status=JobStatus.SUCCEEDED),
]
SPEC = {"name": EVIL, "seed": 7, "stages": [{"type": "sft"}]}


@pytest.fixture(scope="module")
def report() -> JobReport:
    return collect("job-1", SPEC, kept(LOG))


def test_of_what_is_told_twice_the_newest_counts(report):
    sft, ppo_stage = report.stages
    assert (sft.steps, sft.planned, sft.seconds) == (3, 3, 4.0)
    assert sft.series["loss"].steps == [1, 2, 3]
    assert sft.series["loss"].values == [3.0, 2.0, 1.5]
    assert sft.series["validation_loss"].steps == [3]
    assert ppo_stage.quarantined == 1 and ppo_stage.seconds is None
    assert ppo_stage.series["score_mean"].values == [0.5, 0.75]
    assert "seconds.update" in ppo_stage.series
    assert [e.step for e in ppo_stage.evaluations] == [0, 2]
    assert ppo_stage.samples[0].after.response.endswith("2")
    assert report.status == "succeeded" and report.seed == 7
    assert JobReport.model_validate_json(report.model_dump_json()) == report


def test_late_news_of_an_older_attempt_does_not_undo_a_newer_one():
    events = kept([LOG[1], supervised(1, 3.0), supervised(2, 2.0), supervised(2, 9.9)])
    attempts = [1, 1, 2, 1]
    log = [e.model_copy(update={"attempt": a}) for e, a in zip(events, attempts, strict=True)]
    [sft] = collect("job-1", SPEC, log).stages
    assert sft.series["loss"].values == [3.0, 2.0]


class Tags(HTMLParser):
    """Elements and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_what_a_model_wrote_is_shown_and_never_runs(report):
    html = page(report)
    tags = Tags()
    tags.feed(html)
    assert not {"script", "img", "iframe", "object", "link"} & {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        assert not [name for name in attributes if name.startswith("on")]
        where = [attributes.get(name, "") for name in ("src", "href", "xlink:href", "action")]
        assert all(not place or place.startswith("#") for place in where), where
    assert "&lt;script&gt;alert(1)" in html and "{{ 7 * 7 }}" in html
    outside = set(re.findall(r"(?:src|href)=\"(https?:[^\"]+)|url\((https?:[^)]+)\)", html))
    assert not outside


def test_the_page_shows_what_changed_and_what_was_wrong(report):
    html = page(report)
    assert "+0.4000 … +0.6000" in html and "kl_per_token" in html and "raise it" in html
    assert html.count("<svg") == 1 + 6
    assert "seed: 7" in html
    assert page(report) == html, "the same report, the same bytes"


@pytest.mark.parametrize("length", range(len(LOG) + 1))
def test_a_job_that_has_not_ended_has_a_report_too(length):
    assert "<h1>" in page(collect("job-1", SPEC, kept(LOG[:length])))
