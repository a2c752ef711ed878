"""What the small recipes share: a machine of two cores."""

from __future__ import annotations

from rlhf_service.spec import (
    LearnerResources,
    LearnerSpec,
    PoolResources,
    ResourceSpec,
    ScratchModel,
)

LEARNER = LearnerSpec(micro_batch_size=32)

RESOURCES = ResourceSpec(
    learner=LearnerResources(num_workers=1, cpus_per_worker=1, threads=2),
    rollout=PoolResources(num_actors=1, cpus_per_actor=0.5, threads=2),
    reward=PoolResources(num_actors=1, cpus_per_actor=0.25, threads=2),
)


def small_llama(context_length: int, vocab_size: int) -> ScratchModel:
    """A Llama-style network of one to two million weights."""
    return ScratchModel(
        architecture="llama",
        hidden_size=192,
        num_layers=3,
        num_heads=4,
        context_length=context_length,
        vocab_size=vocab_size,
    )
