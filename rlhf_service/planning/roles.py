"""Every process of a job, by role, with what it holds at most."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_service.planning.device import Process, Role, baseline_of
from rlhf_service.planning.memory import (
    AROUND,
    KEPT_VERSIONS,
    Parts,
    element_of,
    host_bytes,
    learner_parts,
    process_parts,
    reward_parts,
    rollout_parts,
)
from rlhf_service.planning.networks import Unknown
from rlhf_service.planning.parts import Setting, StageParts
from rlhf_service.planning.records import Estimate, MemoryPart, RoleMemory, total
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.resources import PoolResources
from rlhf_service.spec.rollout import CACHE_GIB, VllmEngineSpec
from rlhf_service.spec.stages import PpoStage, StageSpec


def roles(
    spec: JobSpec, found: Sequence[StageParts | Unknown], setting: Setting
) -> tuple[RoleMemory, ...]:
    """Every process of the job, by role."""
    known = [parts for parts in found if isinstance(parts, StageParts)]
    unknown = next((parts.why for parts in found if isinstance(parts, Unknown)), None)
    memory = [learners(spec, known, unknown, setting), *offloaded(spec, known)]
    if spec.needs_pools:
        drawing = [parts for parts in known if isinstance(parts.stage, PpoStage)]
        memory += [pool(role, spec, drawing, unknown, setting) for role in ("rollout", "reward")]
        memory.append(plain("weights", setting))
        memory += store(spec, drawing)
    memory.append(plain("driver", setting))
    return tuple(memory)


def learners(
    spec: JobSpec, known: Sequence[StageParts], unknown: str | None, setting: Setting
) -> RoleMemory:
    """Stages follow one another; the one that needs most counts."""
    ranks = spec.resources.learner.num_workers
    widest: tuple[str | None, Parts] = (None, {})
    for parts in known:
        copies = 2 if spec.rollout.weights == "collective" else 1
        published = copies if isinstance(parts.stage, PpoStage) else 0
        rank = (spec.learner, ranks, parts.work, parts.policy, parts.critic)
        held = learner_parts(*rank, published)
        if not spec.resources.on_gpu:
            held |= process_parts(*rank)
        if sum(held.values()) > sum(widest[1].values()):
            widest = (parts.stage.name, held)
    on_gpu = spec.resources.on_gpu
    return role_memory("learner", ranks, on_gpu, widest[1], widest[0], unknown, setting)


def offloaded(spec: JobSpec, known: Sequence[StageParts]) -> list[RoleMemory]:
    """What learners on GPUs keep in the host's memory, when they offload."""
    if not (spec.resources.on_gpu and spec.learner.offload_optimizer and known):
        return []
    ranks = spec.resources.learner.num_workers
    engines = [[p.policy, *([p.critic] if p.critic else [])] for p in known]
    most = max(host_bytes(spec.learner, ranks, each) for each in engines)
    part = MemoryPart(name="offloaded optimizer", bytes=round(most))
    return [
        RoleMemory(
            role="learner", processes=ranks, on="cpu", bytes=Estimate(value=most), parts=(part,)
        )
    ]


def pool(
    role: Role,
    spec: JobSpec,
    drawing: Sequence[StageParts],
    unknown: str | None,
    setting: Setting,
) -> RoleMemory:
    """Rollout or reward actors."""
    own = spec.resources.rollout if role == "rollout" else spec.resources.reward
    widest: tuple[str | None, Parts] = (None, {})
    for parts in drawing:
        if role == "rollout":
            rows = -(-parts.work.prompts // own.num_actors)
            held = rollout_parts(
                parts.policy.shape,
                element_of(spec.learner),
                min(rows, spec.rollout.engine.max_sequences),
                parts.work.prompt_length,
                parts.work.new_tokens,
                parts.policy.lora,
            )
            if spec.rollout.weights == "collective" and isinstance(parts.stage, PpoStage):
                held["weights as fetched"] *= 1 + parts.stage.max_staleness  # they wait here
            else:
                held.pop("weights as fetched")  # read where they lie, tensor by tensor
            if isinstance(spec.rollout.engine, VllmEngineSpec):
                held["cache"] = cache_of(spec.rollout.engine, own)
                unknown = "what vLLM holds besides weights and cache was not measured"
        elif parts.scorers is None:
            unknown = "a network of the reward is not known"
            continue
        else:
            length = parts.work.prompt_length + parts.work.new_tokens
            held = reward_parts(list(parts.scorers), length)
        if widest[0] is None or sum(held.values()) > sum(widest[1].values()):
            widest = (parts.stage.name, held)
    on_gpu = spec.resources.on_gpu and own.gpus_per_actor > 0
    networks = role == "reward" and any(parts.scorers != () for parts in drawing)
    process: Process = "scorer" if networks else role
    return role_memory(process, own.num_actors, on_gpu, widest[1], widest[0], unknown, setting)


def cache_of(engine: VllmEngineSpec, pool: PoolResources) -> float:
    """Bytes that vLLM sets aside for keys and values; 0 where it takes what the GPU has left."""
    if engine.cache_gib is None and pool.gpus_per_actor:
        return 0.0
    return 2**30 * (engine.cache_gib or CACHE_GIB)


def store(spec: JobSpec, drawing: Sequence[StageParts]) -> list[RoleMemory]:
    """Ray's object store, which the weights pass through: memory of the host, shared by all."""
    element = element_of(spec.learner)
    sizes = [
        kept_versions(p.stage)
        * element
        * (p.policy.learning if p.policy.lora else p.policy.parameters)
        for p in drawing
    ]
    if not sizes:
        return []
    most = max(sizes)
    part = MemoryPart(name="object store", bytes=most)
    return [
        RoleMemory(role="weights", processes=1, on="cpu", bytes=Estimate(value=most), parts=(part,))
    ]


def kept_versions(stage: StageSpec) -> int:
    """Versions of the policy that the stage keeps fetchable."""
    return KEPT_VERSIONS + (stage.max_staleness if isinstance(stage, PpoStage) else 0)


def plain(role: Role, setting: Setting) -> RoleMemory:
    """A process without a network."""
    return role_memory(role, 1, False, {}, None, None, setting)


def role_memory(
    process: Process,
    processes: int,
    on_gpu: bool,
    parts: Parts,
    stage: str | None,
    unknown: str | None,
    setting: Setting,
) -> RoleMemory:
    """With the process itself, as far as it was measured."""
    profile = setting.gpu if on_gpu else setting.host
    parts = {name: size for name, size in parts.items() if size}
    baseline = None if profile is None else baseline_of(profile, process)
    if baseline is not None:
        parts["process"] = float(baseline)
    if parts and not on_gpu and process not in ("driver", "reward", "weights"):
        parts["around"] = float(AROUND)
    held = [Estimate(value=sum(parts.values()))] if parts else []
    if unknown is not None:
        held.append(Estimate.none(unknown))
    if baseline is None:
        why = f"what an empty {process} process holds was not measured; run `rlhf calibrate`"
        held.append(Estimate.none(why))
    return RoleMemory(
        role="reward" if process == "scorer" else process,
        processes=processes,
        on="cuda" if on_gpu else "cpu",
        bytes=total(held),
        stage=stage,
        parts=tuple(MemoryPart(name=name, bytes=round(size)) for name, size in parts.items()),
    )
