"""What vLLM can serve of what a job trains. Pure; asked when a job is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlhf_service.spec.model import ModelSpec, ScratchModel, StageModel
from rlhf_service.spec.rollout import VllmEngineSpec
from rlhf_service.spec.stages import PpoStage, StageSpec

if TYPE_CHECKING:
    from rlhf_service.spec.job import JobSpec

ARCHITECTURES = frozenset(
    {
        "GPT2LMHeadModel",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    }
)
"""Whose weights vLLM takes over under the names by which they are trained; tests/vllm draws from a
small network of each."""

CPU_HEAD_SIZES = frozenset({32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512})
"""Sizes of attention heads that vLLM computes on CPUs."""

OTHER_ENGINE = "or draw with rollout.engine: {type: transformers}"


def unserved(spec: JobSpec) -> str | None:
    """What of the job vLLM, if it is to draw, cannot serve, with its field and a remedy."""
    engine = spec.rollout.engine
    if not isinstance(engine, VllmEngineSpec) or not spec.needs_pools:
        return None
    return next(faults(spec, engine), None)


def faults(spec: JobSpec, engine: VllmEngineSpec) -> Iterator[str]:
    """Everything that stands against vLLM."""
    gpus, on_gpu = spec.resources.rollout.gpus_per_actor, spec.resources.on_gpu
    if gpus > 1:
        yield (
            f"resources.rollout.gpus_per_actor: an actor with vLLM draws on one GPU, not {gpus:g}; "
            "ask for more actors instead"
        )
    if on_gpu and not gpus:
        yield (
            "resources.rollout.gpus_per_actor: vLLM beside learners on GPUs needs one too; reserve "
            f"one, {OTHER_ENGINE}"
        )
    if engine.placement == "colocated":
        yield from unshared(spec)
    for index, stage in enumerate(spec.stages):
        if not isinstance(stage, PpoStage):
            continue
        longest = stage.max_prompt_length + stage.sampling.max_new_tokens
        if engine.max_length is not None and longest > engine.max_length:
            yield (
                f"rollout.engine.max_length: {engine.max_length} tokens do not hold the longest prompt "
                f"and response of stages[{index}]; make it at least {longest}"
            )
        if stage.adapter is not None:
            yield (
                f"stages[{index}].adapter: vLLM draws from whole networks only; leave the adapter "
                f"out, {OTHER_ENGINE}"
            )
        field, model = origin(spec, stage)
        if isinstance(model, ScratchModel) and (why := refused(model, on_gpu)):
            yield f"{field}.{why}, {OTHER_ENGINE}"


def unshared(spec: JobSpec) -> Iterator[str]:
    """Why a learner and a rollout actor could not share one GPU."""
    learner, rollout = spec.resources.learner, spec.resources.rollout
    if not spec.resources.on_gpu:
        yield (
            "rollout.engine.placement: colocated is for GPUs, whose memory is handed over; on CPUs "
            "take separate"
        )
    if learner.num_workers > 1 or rollout.num_actors > 1:
        yield (
            "rollout.engine.placement: colocated pairs one learner with one rollout actor; with more "
            "of them take separate"
        )
    if learner.gpus_per_worker + rollout.gpus_per_actor > 1:
        yield (
            "resources.rollout.gpus_per_actor: colocated, learner and actor share one GPU; give each "
            "a part, such as 0.5"
        )
    for index, stage in enumerate(spec.stages):
        if isinstance(stage, PpoStage) and stage.max_staleness:
            yield (
                f"stages[{index}].max_staleness: colocated, learner and actor take turns on one GPU, so "
                "nothing is drawn while they learn; set it to 0, or take placement separate"
            )


def origin(spec: JobSpec, stage: StageSpec) -> tuple[str, ModelSpec]:
    """The model that the stage's policy goes back to, through whatever stages, with its field."""
    while isinstance(model := spec.start_of(stage), StageModel):
        stage = next(earlier for earlier in spec.stages if earlier.name == model.stage)
    if stage.model is None:
        return "model", model
    return f"stages[{spec.stages.index(stage)}].model", model


def refused(model: ScratchModel, on_gpu: bool) -> str | None:
    """Why vLLM cannot serve a network from scratch; begins with the field."""
    if model.architecture == "lstm":
        return "architecture: vLLM does not serve an lstm; take llama or gpt2"
    size = model.hidden_size // model.num_heads
    if not on_gpu and size not in CPU_HEAD_SIZES:
        return (
            f"num_heads: heads of size {size} (hidden_size / num_heads) are none that vLLM computes "
            f"on CPUs ({', '.join(map(str, sorted(CPU_HEAD_SIZES)))}); change one of the two"
        )
    return None
