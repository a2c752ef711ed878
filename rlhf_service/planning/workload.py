"""What one rank does in one step of a stage: passes over microbatches of the longest rows allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlhf_service.planning.activations import Pass
from rlhf_service.planning.device import Loss
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.stages import DpoStage, PpoStage, PretrainStage, RewardStage, StageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One rank's step."""

    update: Pass
    """One microbatch, forward and backward."""
    updates: int
    """Microbatches in all optimiser steps of the step."""
    optimizer_steps: int
    loss: Loss | None
    """None where the head is a scalar."""
    annotate: Pass | None = None
    """One microbatch without gradients, through policy and reference; and critic, if there is one."""
    annotations: int = 0
    prompts: int = 0
    """Responses that the whole job draws in a step."""
    prompt_length: int = 0
    new_tokens: int = 0

    @property
    def accumulates(self) -> bool:
        """Some microbatch runs on top of the gradients of another."""
        return self.updates > self.optimizer_steps


def work_of(spec: JobSpec, stage: StageSpec) -> Work:
    """The step that the spec describes."""
    ranks, micro = spec.resources.learner.num_workers, spec.learner.micro_batch_size
    if isinstance(stage, PpoStage):
        return _policy_gradient(spec, stage, ranks, micro)
    rows = stage.batch_size // ranks
    each = min(micro, rows)
    paired = isinstance(stage, RewardStage | DpoStage)
    sequences = 2 * each if paired else each
    scalar = isinstance(stage, RewardStage)
    whole = isinstance(stage, PretrainStage)
    length = stage.max_length
    return Work(
        update=Pass(
            rows=sequences,
            length=length,
            predicted=0 if scalar else sequences * length,
            learnt=0 if scalar else sequences * (length - 1),
            masked=not whole,
        ),
        updates=math.ceil(rows / each),
        optimizer_steps=1,
        loss=None if scalar else "language",
    )


def _policy_gradient(spec: JobSpec, stage: PpoStage, ranks: int, micro: int) -> Work:
    sequences = stage.prompts_per_step * stage.samples_per_prompt // ranks
    rows = max(1, math.ceil(sequences / stage.ppo.minibatches))
    new = stage.sampling.max_new_tokens
    length = stage.max_prompt_length + new
    if spec.learner.micro_batch_tokens is not None:
        micro = max(1, spec.learner.micro_batch_tokens // length)
    padded = spec.learner.layout == "padded"

    def one(count: int) -> Pass:
        predicted = count * new
        return Pass(rows=count, length=length, predicted=predicted, learnt=predicted, masked=padded)

    steps = stage.ppo.epochs * stage.ppo.minibatches
    return Work(
        update=one(min(micro, rows)),
        updates=steps * math.ceil(rows / micro),
        optimizer_steps=steps,
        loss="policy",
        annotate=one(min(micro, sequences)),
        annotations=math.ceil(sequences / micro),
        prompts=stage.prompts_per_step * stage.samples_per_prompt,
        prompt_length=stage.max_prompt_length,
        new_tokens=new,
    )
