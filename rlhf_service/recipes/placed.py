"""A recipe's job on another device than the CPUs it is sized for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rlhf_service.spec import JobSpec
from rlhf_service.spec.resources import ResourceSpec
from rlhf_service.spec.rollout import TransformersEngineSpec

SEQUENCES = 256
"""Responses under way at once on a GPU."""
PASS_TOKENS = 2**14
"""Of one forward pass of PPO on a GPU: a small network fills it only with many rows."""


def on_one_gpu(spec: JobSpec) -> JobSpec:
    """The job on shares of one GPU: half for the learner, a quarter for each pool of actors."""
    resources = spec.resources
    placed = ResourceSpec(
        device="cuda",
        learner=resources.learner.model_copy(update={"gpus_per_worker": 0.5}),
        rollout=resources.rollout.model_copy(update={"gpus_per_actor": 0.25}),
        reward=resources.reward.model_copy(update={"gpus_per_actor": 0.25}),
    )
    rollout = spec.rollout
    if isinstance(rollout.engine, TransformersEngineSpec):
        engine = rollout.engine.model_copy(update={"max_sequences": SEQUENCES})
        rollout = rollout.model_copy(update={"engine": engine})
    learner = spec.learner.model_copy(update={"micro_batch_tokens": PASS_TOKENS})
    return spec.model_copy(update={"resources": placed, "rollout": rollout, "learner": learner})


PLACED: Mapping[str, Callable[[JobSpec], JobSpec]] = {"cpu": lambda spec: spec, "cuda": on_one_gpu}
"""By what `rlhf run --device` takes."""
