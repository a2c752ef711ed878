"""Events in Prometheus' terms: declared names, the declared tags, sane values."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cluster.meters import MeteredSink, RayMeters
from cluster.readings import COMMON, FIGURES, kind, of_attempt, of_rollouts, of_scores, readings
from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    Event,
    Log,
    PromptQuarantined,
    Recovered,
    RoleStopped,
    StepCompleted,
)
from rlhf_service.records import Score, ScoreFailure
from rlhf_service.reports import PpoReport, PreferenceReport, SupervisedReport
from rlhf_service.testing import ListSink
from tests.browser.stories import WORK, ppo_step

NUMBER = st.floats(-1e6, 1e6)


def made(cls: type[BaseModel], **given: st.SearchStrategy[object]) -> st.SearchStrategy[Any]:
    """Records of a class, their numbers finite as those of events are."""
    kinds = {int: st.integers(1, 1000), float: NUMBER}
    numbers = {
        name: kinds[field.annotation]
        for name, field in cls.model_fields.items()
        if field.annotation in kinds
    }
    return st.builds(cls, **numbers | given)


REPORTS = st.one_of(*map(made, (SupervisedReport, PreferenceReport, PpoReport)))
TEXT = st.text(max_size=5)
EVENTS = st.one_of(
    made(StepCompleted, stage=TEXT, report=REPORTS),
    *map(made, (AlarmRaised, AlarmCleared, CheckpointSaved, PromptQuarantined, Log)),
    made(RoleStopped, role=st.sampled_from(["rollout-3", "learner"])),
    made(Recovered, role=st.sampled_from(["reward-12", "learner"])),
)


@given(EVENTS)
def test_every_reading_is_declared_with_its_tags(event: Event):
    for reading in readings(event, 1.0):
        figure = FIGURES[reading.name]
        assert set(reading.tags) == set(figure.tags)
        assert math.isfinite(reading.value)


def test_names_are_as_prometheus_wants_them():
    for name, figure in FIGURES.items():
        assert re.fullmatch(r"rlhf_[a-z_]+[a-z]", name) and figure.about.endswith(".")
        assert not name.endswith("_total")  # Ray writes it
        assert not set(figure.tags) & set(COMMON)
        if figure.kind == "histogram":
            assert name.endswith("_seconds")
        if name.endswith("_ratio"):
            assert figure.kind == "gauge"


def test_a_tag_has_few_values():
    assert [kind(role) for role in ("rollout-3", "reward-12", "learner", "weights")] == [
        "rollout",
        "reward",
        "learner",
        "weights",
    ]


def test_pools_and_drivers():
    rollouts = [SimpleNamespace(actions=(True, False, True)), SimpleNamespace(actions=(True,))]
    told = {r.name: r.value for r in of_rollouts(rollouts, 7)}
    assert told == {
        "rlhf_rollout_responses": 2,
        "rlhf_rollout_tokens": 3,
        "rlhf_policy_version": 7,
    }
    outcomes = [Score(value=1.0), ScoreFailure(kind="timeout", message="late"), Score(value=0.0)]
    assert [(r.tags["outcome"], r.value) for r in of_scores(outcomes)] == [
        ("scored", 2),
        ("failed", 1),
    ]
    assert {r.name for r in of_attempt(2, 1.5)} <= FIGURES.keys()


def test_metrics_that_break_stop_no_job(monkeypatch):
    meters, sink = RayMeters("job-1", "learner", 0), ListSink()
    calls = []

    def broken(reading: object) -> None:
        calls.append(reading)
        raise RuntimeError("no agent")

    monkeypatch.setattr(meters, "_record", broken)
    event = Recovered(role="learner", message="again")
    metered = MeteredSink(sink, meters)
    metered.emit(event)
    metered.emit(event)
    assert sink.events == [event, event] and len(calls) == 1


def test_actors_know_whose_they_are():
    meters = RayMeters.of_actor("rlhf/job-1/rollout-3")
    assert meters._common == {"job_id": "job-1", "role": "rollout", "rank": "3"}
    with pytest.raises(ValueError):
        RayMeters.of_actor("somebody")


@pytest.mark.parametrize("peak, told", [(8e10, {"step": 0.25, "update": 0.5}), (0.0, {})])
def test_useful_work_is_a_share_of_the_peak_where_that_was_measured(peak, told):
    report = ppo_step(1, 0.5, **WORK).report.model_copy(update={"peak_flops_per_second": peak})
    found = readings(StepCompleted(stage="ppo", step=1, steps=2, report=report), 1.0)
    shares = {r.tags["of"]: r.value for r in found if r.name == "rlhf_useful_work_ratio"}
    values = {r.name: r.value for r in found}
    assert shares == told and values["rlhf_flops_per_second"] == 2e10
    assert values["rlhf_decode_tail_duration_seconds"] == 0.25
    assert values["rlhf_optimizer_duration_seconds"] == 0.5
