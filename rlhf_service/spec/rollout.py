"""What draws the responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_service.spec.base import Section

VLLM_PYTHON = "RLHF_VLLM_PYTHON"
"""Variable of a driver that names the python of vLLM's environment, on every node."""

CACHE_GIB = 1.0
"""Memory for keys and values on a CPU, when a job does not say."""


class TransformersEngineSpec(Section):
    """This project's own decode loop on a Hugging Face network; serves every model and adapter."""

    type: Literal["transformers"] = "transformers"

    max_sequences: int = Field(default=64, ge=1)
    """Responses that are under way at once in one actor; more need more memory for keys and values.
    GPUs take several hundred in little more time than a few."""


class VllmEngineSpec(Section):
    """vLLM, in the environment that the operator names (RLHF_VLLM_PYTHON), else in the job's.

    It serves whole networks, no adapters, of the architectures in `spec/served.py`; one GPU an actor.
    """

    type: Literal["vllm"] = "vllm"

    max_sequences: int = Field(default=64, ge=1)
    """Responses that are under way at once in one actor."""

    max_length: int | None = Field(default=None, ge=2)
    """Most tokens of a prompt with its response; the model's context when absent."""

    cache_gib: float | None = Field(default=None, gt=0)
    """Memory for keys and values, GiB. When absent: on a GPU what `gpu_memory` leaves, on a CPU 1."""

    gpu_memory: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory that an actor takes in all."""

    placement: Literal["separate", "colocated"] = "separate"
    """separate: on GPUs of its own · colocated: the actor shares the learner's GPU (fractions of it in
    `resources`), and gives its memory back while it does not draw. One learner, one actor."""

    compile: bool = False
    """Compile the network, on GPUs with CUDA graphs: faster to draw, slower to start."""


EngineSpec = Annotated[TransformersEngineSpec | VllmEngineSpec, Field(discriminator="type")]
"""Engines, told apart by `type`."""


class RolloutSpec(Section):
    """How the responses of policy-gradient stages are drawn."""

    engine: EngineSpec = TransformersEngineSpec()
    """What draws them."""

    weights: Literal["object_store", "collective"] = "object_store"
    """How new weights reach the actors. object_store: through the host's shared memory, without a copy
    on one machine · collective: broadcast from device to device (NCCL on GPUs, gloo on CPUs), for actors
    on other machines or GPUs; whoever misses a broadcast takes the object store's."""
