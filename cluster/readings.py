"""What events say in Prometheus' terms: names, units, kinds. Pure; the one place where they are decided.

Ray exports each as `ray_<name>`, counters with `_total` behind. Besides its own tags every figure has
`job_id`, `role` and `rank` (`job` is what Prometheus calls its own).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    EvaluationCompleted,
    Event,
    PromptQuarantined,
    Recovered,
    RoleStopped,
    StepCompleted,
)
from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reports import PpoReport, PreferenceReport, StepReport, SupervisedReport

COMMON = ("job_id", "role", "rank")
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric."""

    kind: Literal["gauge", "counter", "histogram"]
    about: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metric has just become, risen by, or observed."""

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


STAGE = ("stage",)
PHASES = ("wait", "generate", "judge", "annotate", "update", "publish", "other")

FIGURES: Mapping[str, Figure] = {
    # learners
    "rlhf_step": Figure("gauge", "Newest step of the stage.", STAGE),
    "rlhf_stage_steps": Figure("gauge", "Steps that the stage has.", STAGE),
    "rlhf_steps": Figure("counter", "Steps done, repeated ones too.", STAGE),
    "rlhf_steps_replayed": Figure("counter", "Steps that a restart repeated.", STAGE),
    "rlhf_step_timestamp_seconds": Figure("gauge", "When the newest step was done.", STAGE),
    "rlhf_step_duration_seconds": Figure("histogram", "Of a step.", STAGE),
    "rlhf_phase_duration_seconds": Figure("gauge", "Of a step's part.", ("stage", "phase")),
    "rlhf_decode_tail_duration_seconds": Figure(
        "gauge", "Of sampling: from when three of four responses had ended.", STAGE
    ),
    "rlhf_optimizer_duration_seconds": Figure(
        "gauge", "Of the update: reducing gradients, and the optimiser's step.", STAGE
    ),
    "rlhf_flops_per_second": Figure("gauge", "Useful operations of the newest step.", STAGE),
    "rlhf_useful_work_ratio": Figure(
        "gauge", "Of what matrix products reach: in the whole step, in its update.", ("stage", "of")
    ),
    "rlhf_tokens": Figure("counter", "Tokens learnt from.", STAGE),
    "rlhf_tokens_per_second": Figure("gauge", "Tokens learnt from in the newest step.", STAGE),
    "rlhf_generated_tokens_per_second": Figure("gauge", "Sampled in the newest step.", STAGE),
    "rlhf_loss": Figure("gauge", "Loss: nats a token, or of pairs, or the policy's.", STAGE),
    "rlhf_value_loss": Figure("gauge", "Loss of the critic.", STAGE),
    "rlhf_gradient_norm": Figure("gauge", "Before clipping.", ("stage", "network")),
    "rlhf_learning_rate": Figure("gauge", "Of the policy.", STAGE),
    "rlhf_pair_accuracy_ratio": Figure("gauge", "Pairs whose chosen scores higher.", STAGE),
    "rlhf_score": Figure("gauge", "Mean score of the step's responses.", STAGE),
    "rlhf_kl_nats": Figure("gauge", "To the reference, for a response.", STAGE),
    "rlhf_entropy_nats": Figure("gauge", "Of a response's token.", STAGE),
    "rlhf_response_tokens": Figure("gauge", "Mean length of a response.", STAGE),
    "rlhf_truncated_ratio": Figure("gauge", "Responses cut at the limit.", STAGE),
    "rlhf_clipped_ratio": Figure("gauge", "Tokens whose ratio was clipped.", STAGE),
    "rlhf_explained_variance_ratio": Figure("gauge", "Of returns, by the critic.", STAGE),
    "rlhf_staleness_versions": Figure("gauge", "Of responses when learnt, mean.", STAGE),
    "rlhf_evaluation_reward": Figure("gauge", "Mean held-out reward.", STAGE),
    "rlhf_quarantined_prompts": Figure("counter", "Set aside: no score could be had.", STAGE),
    "rlhf_alarm_active": Figure("gauge", "1 while training looks unwell.", ("stage", "alarm")),
    "rlhf_checkpoint_timestamp_seconds": Figure("gauge", "When the newest was whole.", STAGE),
    "rlhf_checkpoint_duration_seconds": Figure("gauge", "Of writing the newest.", STAGE),
    "rlhf_role_failures": Figure("counter", "Deaths and stalls.", ("failed_role", "how")),
    "rlhf_recoveries": Figure("counter", "Restarted parts that go on.", ("recovered_role",)),
    # driver
    "rlhf_attempt": Figure("gauge", "Number of the attempt."),
    "rlhf_learners_silent_seconds": Figure("gauge", "Since learners last said something."),
    # pools
    "rlhf_rollout_responses": Figure("counter", "Responses sampled."),
    "rlhf_rollout_tokens": Figure("counter", "Tokens sampled."),
    "rlhf_rollout_duration_seconds": Figure("histogram", "Of a request for responses."),
    "rlhf_policy_version": Figure("gauge", "Version that was served last."),
    "rlhf_scores": Figure("counter", "Responses scored, or not.", ("outcome",)),
    "rlhf_score_duration_seconds": Figure("histogram", "Of a request for scores."),
}


def readings(event: Event, now: float) -> list[Reading]:
    """What an event says, at `now` seconds since the epoch."""
    match event:
        case StepCompleted():
            return list(of_step(event, now))
        case EvaluationCompleted():
            return [Reading("rlhf_evaluation_reward", event.mean, {"stage": event.stage})]
        case PromptQuarantined():
            return [Reading("rlhf_quarantined_prompts", 1, {"stage": event.stage})]
        case AlarmRaised() | AlarmCleared():
            active = float(isinstance(event, AlarmRaised))
            tags = {"stage": event.stage, "alarm": event.alarm}
            return [Reading("rlhf_alarm_active", active, tags)]
        case CheckpointSaved():
            tags = {"stage": event.stage}
            return [
                Reading("rlhf_checkpoint_timestamp_seconds", now, tags),
                Reading("rlhf_checkpoint_duration_seconds", event.seconds, tags),
            ]
        case RoleStopped():
            how = "stalled" if event.stalled else "died"
            return [Reading("rlhf_role_failures", 1, {"failed_role": kind(event.role), "how": how})]
        case Recovered():
            return [Reading("rlhf_recoveries", 1, {"recovered_role": kind(event.role)})]
    return []


def kind(role: str) -> str:
    """`rollout-3` is one of the rollouts: a tag has few values."""
    return role.rstrip("0123456789").rstrip("-")


def of_step(event: StepCompleted, now: float) -> Iterator[Reading]:
    tags = {"stage": event.stage}
    yield Reading("rlhf_step", event.step, tags)
    yield Reading("rlhf_stage_steps", event.steps, tags)
    yield Reading("rlhf_steps", 1, tags)
    yield Reading("rlhf_step_timestamp_seconds", now, tags)
    if event.replayed:
        yield Reading("rlhf_steps_replayed", 1, tags)
    for name, value, own in of_report(event.report):
        yield Reading(name, value, tags | own)


def of_report(report: StepReport) -> Iterator[tuple[str, float, dict[str, str]]]:
    yield "rlhf_learning_rate", report.learning_rate, {}
    yield from of_work(report)
    match report:
        case SupervisedReport():
            yield "rlhf_step_duration_seconds", report.seconds, {}
            yield "rlhf_optimizer_duration_seconds", report.optimizer_seconds, {}
            yield "rlhf_loss", report.loss, {}
            yield "rlhf_tokens", report.tokens, {}
            yield "rlhf_tokens_per_second", report.tokens_per_second, {}
            yield "rlhf_gradient_norm", report.grad_norm, {"network": "policy"}
        case PreferenceReport():
            yield "rlhf_step_duration_seconds", report.seconds, {}
            yield "rlhf_optimizer_duration_seconds", report.optimizer_seconds, {}
            yield "rlhf_loss", report.loss, {}
            yield "rlhf_pair_accuracy_ratio", report.accuracy, {}
            yield "rlhf_gradient_norm", report.grad_norm, {"network": "policy"}
        case PpoReport():
            seconds = report.seconds
            yield "rlhf_step_duration_seconds", seconds.total, {}
            for phase in PHASES:
                yield "rlhf_phase_duration_seconds", getattr(seconds, phase), {"phase": phase}
            yield "rlhf_decode_tail_duration_seconds", seconds.decode_tail, {}
            yield "rlhf_optimizer_duration_seconds", seconds.optimizer, {}
            yield "rlhf_tokens", report.response_length_mean * report.responses, {}
            yield "rlhf_tokens_per_second", report.tokens_per_second, {}
            yield "rlhf_generated_tokens_per_second", report.generate_tokens_per_second, {}
            yield "rlhf_loss", report.policy_loss, {}
            yield "rlhf_value_loss", report.value_loss, {}
            yield "rlhf_gradient_norm", report.policy_grad_norm, {"network": "policy"}
            yield "rlhf_gradient_norm", report.critic_grad_norm, {"network": "critic"}
            yield "rlhf_score", report.score_mean, {}
            yield "rlhf_kl_nats", report.kl, {}
            yield "rlhf_entropy_nats", report.entropy, {}
            yield "rlhf_response_tokens", report.response_length_mean, {}
            yield "rlhf_truncated_ratio", report.truncated_fraction, {}
            clipped = report.clip_fraction_low + report.clip_fraction_high
            yield "rlhf_clipped_ratio", clipped, {}
            yield "rlhf_explained_variance_ratio", report.explained_variance, {}
            yield "rlhf_staleness_versions", report.staleness_mean, {}


def of_work(report: StepReport) -> Iterator[tuple[str, float, dict[str, str]]]:
    """Shares only where the stage has measured what its processor reaches."""
    yield "rlhf_flops_per_second", report.flops_per_second, {}
    peak = report.peak_flops_per_second
    if peak > 0:
        yield "rlhf_useful_work_ratio", report.flops_per_second / peak, {"of": "step"}
    if peak > 0 and isinstance(report, PpoReport):
        yield "rlhf_useful_work_ratio", report.update_flops_per_second / peak, {"of": "update"}


def of_rollouts(rollouts: Sequence[Rollout], version: int) -> list[Reading]:
    """What a rollout actor has just sampled."""
    tokens = sum(sum(rollout.actions) for rollout in rollouts)
    return [
        Reading("rlhf_rollout_responses", len(rollouts)),
        Reading("rlhf_rollout_tokens", tokens),
        Reading("rlhf_policy_version", version),
    ]


def of_scores(outcomes: Sequence[ScoreOutcome]) -> list[Reading]:
    """What a reward actor has just answered."""
    scored = sum(isinstance(outcome, Score) for outcome in outcomes)
    return [
        Reading("rlhf_scores", scored, {"outcome": "scored"}),
        Reading("rlhf_scores", len(outcomes) - scored, {"outcome": "failed"}),
    ]


def of_attempt(attempt: int, silence: float) -> list[Reading]:
    """What a driver sees of its learners."""
    return [
        Reading("rlhf_attempt", attempt),
        Reading("rlhf_learners_silent_seconds", silence),
    ]
