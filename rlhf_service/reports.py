"""What a step reports. One record for each kind of stage; every figure is over all ranks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class SupervisedReport(Section):
    """One optimiser step of pretraining or SFT."""

    kind: Literal["supervised"] = "supervised"
    loss: float
    """Cross-entropy per predicted token, nats."""
    tokens: int
    """Tokens that carried loss."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    seconds: float
    optimizer_seconds: float = 0.0
    """Of them: reducing and clipping gradients, and the optimiser's step."""
    tokens_per_second: float
    flops_per_second: float = 0.0
    """Useful operations a second of all learner ranks over the whole step."""
    peak_flops_per_second: float = 0.0
    """What their matrix products reach in the job's precision, measured when the stage began."""
    validation_loss: float | None = None
    """Nats per token on the held-out rows, when measured at this step."""


class PreferenceReport(Section):
    """One optimiser step of reward modelling or DPO, whose scores are β·(log π − log π_ref)."""

    kind: Literal["preference"] = "preference"
    loss: float
    """−log σ(chosen − rejected − margin), mean over pairs."""
    accuracy: float
    """Share of pairs whose chosen scores higher."""
    margin: float
    """Mean of chosen − rejected."""
    grad_norm: float
    learning_rate: float
    seconds: float
    optimizer_seconds: float = 0.0
    """Of them: reducing and clipping gradients, and the optimiser's step."""
    pairs_per_second: float
    flops_per_second: float = 0.0
    """Useful operations a second of all learner ranks over the whole step."""
    peak_flops_per_second: float = 0.0
    """What their matrix products reach in the job's precision, measured when the stage began."""
    validation_accuracy: float | None = None
    """On held-out pairs, when measured at this step."""


class PhaseSeconds(Section):
    """Where a PPO step's time went, on rank 0."""

    wait: float = 0.0
    """For responses that are sampled and scored ahead."""
    generate: float = 0.0
    judge: float = 0.0
    annotate: float = 0.0
    update: float = 0.0
    publish: float = 0.0
    other: float = 0.0
    """Between the phases: credit, waiting for other ranks, reporting."""
    total: float = 0.0
    decode_tail: float = 0.0
    """Of `generate`: from when three of four responses had ended until the last had."""
    optimizer: float = 0.0
    """Of `update`: reducing and clipping gradients, and the optimiser's steps."""


class AheadSeconds(Section):
    """What the step's responses took on rank 0 while earlier batches were learnt; no part of its own
    seconds."""

    generate: float = 0.0
    judge: float = 0.0


class PpoReport(Section):
    """One PPO step."""

    kind: Literal["ppo"] = "ppo"
    policy_version: int
    """Version of the policy that learns from this batch; it also sampled it, without staleness."""
    responses: int
    quarantined: int
    """Prompts set aside because their reward could not be had."""
    score_mean: float
    score_std: float
    score_min: float
    score_max: float
    components: dict[str, float] = Field(default_factory=dict)
    """Mean of each named part of the score."""
    return_mean: float
    """Σ_t γ^t R_{t+1}, mean over responses."""
    kl: float
    """k1 to the reference, summed over each response's tokens, mean over responses."""
    kl_k3: float
    kl_coef: float
    entropy: float
    """Nats per response token."""
    response_length_mean: float
    response_length_max: int
    truncated_fraction: float
    policy_loss: float
    value_loss: float
    approx_kl: float
    """½·mean (Δ log-prob)² to the batch's old policy."""
    clip_fraction_low: float
    clip_fraction_high: float
    value_clip_fraction: float
    advantage_mean: float
    """Before whitening."""
    advantage_std: float
    explained_variance: float
    """1 − var(return − value) / var(return)."""
    equal_groups_fraction: float
    """Share of prompts whose responses all scored the same; 1 with one response a prompt."""
    length_correlation: float = 0.0
    """Of score and response length over the step's responses; 0 when either is constant."""
    repetition: float = 0.0
    """Share of a response's token trigrams that it had before, mean over responses."""
    groups_passed_over: int = 0
    """Prompts that dynamic sampling answered and did not learn from."""
    temperature: float = 1.0
    """The step's sampling temperature."""
    policy_grad_norm: float
    critic_grad_norm: float
    learning_rate: float
    critic_learning_rate: float
    sampler_difference_mean: float
    """Mean |sampler − trainer| log-prob over response tokens."""
    sampler_difference_max: float
    importance_weight_max: float
    staleness_mean: float = 0.0
    """Versions by which the weights that sampled a response were older than those that learn from it,
    mean over responses."""
    staleness_max: int = 0
    tokens_per_second: float
    """Response tokens sampled and learnt per second of the whole step."""
    generate_tokens_per_second: float
    flops_per_second: float = 0.0
    """Useful operations a second of all learner ranks over the whole step: sampling, annotation and
    update, multiplications with weights alone."""
    peak_flops_per_second: float = 0.0
    """What their matrix products reach in the job's precision, measured when the stage began."""
    update_flops_per_second: float = 0.0
    """The same of the update, over its own seconds."""
    seconds: PhaseSeconds
    ahead_seconds: AheadSeconds = AheadSeconds()


StepReport = Annotated[SupervisedReport | PreferenceReport | PpoReport, Field(discriminator="kind")]


def deterministic_part(report: Section) -> dict[str, object]:
    """The report without its clock readings: what a resumed run must repeat exactly."""
    clocks = {name for name in type(report).model_fields if name.endswith(("_second", "seconds"))}
    return report.model_dump(exclude=clocks)
