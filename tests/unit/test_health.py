"""Alarms: raised after some steps in a row, cleared after one, stopping a job only when told to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlhf_service.errors import Unhealthy, UnhealthyPause
from rlhf_service.events import AlarmCleared, AlarmRaised, CheckpointSaved
from rlhf_service.health.alarms import ALARMS
from rlhf_service.health.monitor import Monitor
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.learner.group import SoloGroup
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.reporting import correlation, repeated_trigrams
from rlhf_service.reports import PhaseSeconds, PpoReport
from rlhf_service.spec import JobSpec, PpoStage
from rlhf_service.spec.health import HealthSpec
from rlhf_service.stages.pipeline import run_pipeline

HEALTHY = PpoReport(
    policy_version=1,
    responses=8,
    quarantined=0,
    score_mean=0.5,
    score_std=0.2,
    score_min=0.0,
    score_max=1.0,
    components={"rm_disagreement": 0.5},
    return_mean=0.4,
    kl=2.0,
    kl_k3=2.0,
    kl_coef=0.05,
    entropy=3.0,
    response_length_mean=10.0,
    response_length_max=12,
    truncated_fraction=0.1,
    policy_loss=0.1,
    value_loss=0.1,
    approx_kl=0.01,
    clip_fraction_low=0.0,
    clip_fraction_high=0.0,
    value_clip_fraction=0.0,
    advantage_mean=0.0,
    advantage_std=1.0,
    explained_variance=0.3,
    equal_groups_fraction=0.2,
    length_correlation=0.1,
    repetition=0.05,
    policy_grad_norm=1.0,
    critic_grad_norm=1.0,
    learning_rate=1e-4,
    critic_learning_rate=1e-4,
    sampler_difference_mean=1e-6,
    sampler_difference_max=1e-5,
    importance_weight_max=1.0,
    tokens_per_second=100.0,
    generate_tokens_per_second=200.0,
    seconds=PhaseSeconds(),
)
ILL = {
    "kl_per_token": {"kl": 20.0},
    "entropy_share": {"entropy": 0.2},
    "truncated": {"truncated_fraction": 0.9},
    "repetition": {"repetition": 0.6},
    "length_correlation": {"length_correlation": 0.95},
    "explained_variance": {"explained_variance": -2.0},
    "equal_groups": {"equal_groups_fraction": 0.9},
    "sampler_difference": {"sampler_difference_mean": 0.2},
    "disagreement_growth": {"components": {"rm_disagreement": 2.0}},
}


def stage(**changes):
    plain = {
        "type": "ppo",
        "prompts": {"path": "/p"},
        "reward": {"type": "length", "target": 3},
        "samples_per_prompt": 2,
    }
    return PpoStage.model_validate(plain | changes)


def watch(monitor, reports):
    """[(step, events)] of the steps that said something."""
    said = []
    for step, report in enumerate(reports, start=1):
        monitor, events = monitor.look(step, report)
        if events:
            said.append((step, events))
    return said


def test_every_alarm_has_a_threshold_that_can_be_switched_off():
    assert {alarm.name for alarm in ALARMS} == set(ILL)
    off = HealthSpec(**{name: None for name in ILL})
    everything = HEALTHY.model_copy(update={k: v for ill in ILL.values() for k, v in ill.items()})
    assert not watch(Monitor(stage(), off), [HEALTHY, *[everything] * 5])
    assert not watch(Monitor(stage(), HealthSpec()), [HEALTHY] * 9)


@pytest.mark.parametrize("name", ILL)
def test_an_alarm_is_raised_once_after_its_patience_and_cleared(name):
    ill = HEALTHY.model_copy(update=ILL[name])
    reports = [HEALTHY, ill, ill, HEALTHY, ill, ill, ill, ill, ill, HEALTHY, HEALTHY]
    said = watch(Monitor(stage(), HealthSpec(patience=3)), reports)
    assert [step for step, _ in said] == [7, 10]
    [[raised], [cleared]] = [events for _, events in said]
    assert isinstance(raised, AlarmRaised) and raised.alarm == name and len(raised.advice) > 20
    assert isinstance(cleared, AlarmCleared) and cleared.alarm == name


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("explained_variance", stage(ppo={"advantage": {"type": "return_to_go"}})),
        ("explained_variance", stage(ppo={"critic_warmup_steps": 50})),
        ("equal_groups", stage(samples_per_prompt=1)),
    ],
)
def test_what_has_no_meaning_is_not_looked_at(name, where):
    ill = HEALTHY.model_copy(update=ILL[name])
    assert not watch(Monitor(where, HealthSpec()), [HEALTHY, *[ill] * 5])


def test_older_weights_are_no_mismatch_of_sampler_and_trainer():
    stale = HEALTHY.model_copy(update=ILL["sampler_difference"] | {"staleness_max": 1})
    assert not watch(Monitor(stage(max_staleness=1), HealthSpec()), [HEALTHY, *[stale] * 5])


def test_a_restored_monitor_goes_on_where_it_was():
    ill = HEALTHY.model_copy(update=ILL["entropy_share"])
    monitor = Monitor(stage(), HealthSpec(patience=2))
    for step, report in enumerate([HEALTHY, ill], start=1):
        monitor, said = monitor.look(step, report)
        assert not said
    again = Monitor(stage(), HealthSpec(patience=2)).restored(monitor.saved())
    assert again == monitor
    [raised] = again.look(3, ill)[1]
    assert raised.value == pytest.approx(0.2 / 3.0)


def unwell(spec, **health):
    plain = spec.model_dump(mode="json", exclude_unset=True)
    plain["stages"][-1]["health"] = {"patience": 1, "truncated": 0.01, **health}
    plain["checkpoint"] = {"every": 100}
    return JobSpec.model_validate(plain)


def test_an_alarm_is_an_event_and_stops_only_when_told_to(pipeline_spec, make_context, tmp_path):
    context = make_context(unwell(pipeline_spec), tmp_path / "job")
    run_pipeline(context)
    alarms = [e for e in context.sink.events if isinstance(e, AlarmRaised)]
    assert [a.alarm for a in alarms] == ["truncated"]

    stopped = make_context(unwell(pipeline_spec, action="stop"), tmp_path / "stopped")
    with pytest.raises(Unhealthy, match=r"alarm truncated .* sampling\.max_new_tokens"):
        run_pipeline(stopped)
    saved = [e for e in stopped.sink.events if isinstance(e, CheckpointSaved)]
    assert (saved[-1].stage, saved[-1].step) == ("ppo", 1)
    assert Unhealthy.reason is StopReason.UNHEALTHY
    assert StopReason.UNHEALTHY.to_status() is JobStatus.FAILED

    paused = make_context(unwell(pipeline_spec, action="pause"), tmp_path / "paused")
    with pytest.raises(UnhealthyPause, match=r"paused after step 1 .* resume the job"):
        run_pipeline(paused)
    # The alarm is known by now: going on is what resuming means.
    run_pipeline(make_context(unwell(pipeline_spec, action="pause"), tmp_path / "paused"))
    assert paused.folder.result.exists()

    resumed = make_context(unwell(pipeline_spec), tmp_path / "stopped")
    run_pipeline(resumed)
    assert resumed.folder.result.exists()


def test_correlation_is_pearsons_r():
    rng = np.random.default_rng(0)
    for trial in range(20):
        x, y = rng.normal(5, 2, 30), rng.normal(-3, 1, 30)
        y += trial / 10 * x
        counts = rng.random(30) < 0.8
        found = correlation(torch.tensor(x), torch.tensor(y), torch.tensor(counts), SoloGroup())
        assert found == pytest.approx(np.corrcoef(x[counts], y[counts])[0, 1], abs=1e-9)
    same = torch.full((5,), 0.1)
    everyone = torch.ones(5, dtype=torch.bool)
    assert correlation(same, torch.arange(5.0), everyone, SoloGroup()) == 0
    assert correlation(same, same, torch.zeros(5, dtype=torch.bool), SoloGroup()) == 0


def test_repetition_counts_trigrams_seen_before():
    def rollout(*ids):
        prompt = Prompt(position=0, sample=0, row=0, text="", token_ids=(1,))
        return Rollout(
            prompt=prompt,
            token_ids=ids,
            logprobs=(0.0,) * len(ids),
            text="",
            finish_reason=FinishReason.EOS,
            policy_version=1,
        )

    found = repeated_trigrams([rollout(1, 2), rollout(1, 2, 3, 1, 2, 3), rollout(7, 7, 7, 7, 7)])
    assert found.tolist() == pytest.approx([0, 1 / 4, 2 / 3])
