"""Settings left open, chosen: ranks, ZeRO stage, microbatch, and where rollout actors go.

What the spec says itself is kept; the plan only advises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from pydantic import ValidationError

from rlhf_service.planning.parts import Setting
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.records import Advice, JobPlan
from rlhf_service.spec.job import JobSpec

MICRO = (1, 2, 4, 8, 16, 32)
RANKS = (1, 2, 4, 8, 16, 32, 64)
WORTH = 0.9
"""A change must save a tenth of the time, or make the job fit."""


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """Settings of the learner group."""

    ranks: int
    zero: int
    micro: int


def advised(spec: JobSpec, setting: Setting, devices: int) -> JobPlan:
    """The plan, with advice on what the spec leaves open. `devices` are the GPUs, or cores, to use."""
    plan = plan_job(spec, setting)
    return plan.model_copy(update={"advice": tuple(advice(spec, plan, setting, devices))})


def advice(spec: JobSpec, plan: JobPlan, setting: Setting, devices: int) -> Iterator[Advice]:
    """What to change: for time in what was left open; in anything, where the job does not fit."""
    if plan.seconds.value is None:
        return
    now = Choice(
        spec.resources.learner.num_workers,
        spec.learner.zero_stage,
        spec.learner.micro_batch_size,
    )
    best = choose(spec, plan, setting, choices(spec, devices, everything=plan.fits is False))
    if best is not None and best[0] != now:
        choice, found = best
        yield from changes(now, choice, reason(plan, found))
    elif plan.fits is False:
        yield from last_resorts(spec, setting)
    yield from together(spec)


def choices(spec: JobSpec, devices: int, *, everything: bool) -> list[Choice]:
    """Every combination of what is open."""
    learner, own = spec.learner, spec.resources.learner

    def open_(given: bool) -> bool:
        return everything or not given

    ranks = [n for n in RANKS if n <= max(1, devices)]
    zeros = [0, 1, 2, 3]
    return [
        Choice(*combination)
        for combination in product(
            ranks if open_("num_workers" in own.model_fields_set) else [own.num_workers],
            zeros if open_("zero_stage" in learner.model_fields_set) else [learner.zero_stage],
            MICRO
            if open_("micro_batch_size" in learner.model_fields_set)
            else [learner.micro_batch_size],
        )
    ]


def choose(
    spec: JobSpec, plan: JobPlan, setting: Setting, open_to: list[Choice]
) -> tuple[Choice, JobPlan] | None:
    """The fastest that fits, the simplest of equals; None when nothing is worth a change."""
    found: list[tuple[float, Choice, JobPlan]] = []
    for choice in open_to:
        changed = with_choice(spec, choice)
        if changed is None:
            continue
        tried = plan_job(changed, setting)
        if tried.fits and tried.seconds.value is not None:
            found.append((tried.seconds.value, choice, tried))
    if not found:
        return None
    fastest = min(seconds for seconds, _, _ in found)
    seconds, choice, tried = min(
        (one for one in found if one[0] <= fastest * 1.03), key=lambda one: one[1]
    )
    worth = plan.fits is False or seconds < WORTH * (plan.seconds.value or 0)
    return (choice, tried) if worth else None


def with_choice(spec: JobSpec, choice: Choice) -> JobSpec | None:
    """The spec with other settings; None when they do not go with its batches."""
    raw = spec.model_dump(mode="json")
    raw["learner"] |= {"zero_stage": choice.zero, "micro_batch_size": choice.micro}
    raw["resources"]["learner"]["num_workers"] = choice.ranks
    try:
        return JobSpec.model_validate(raw)
    except ValidationError:
        return None


def changes(now: Choice, better: Choice, why: str) -> Iterator[Advice]:
    for field, one, other in (
        ("resources.learner.num_workers", now.ranks, better.ranks),
        ("learner.zero_stage", now.zero, better.zero),
        ("learner.micro_batch_size", now.micro, better.micro),
    ):
        if one != other:
            yield Advice(field=field, now=str(one), better=str(other), why=why)


def reason(plan: JobPlan, better: JobPlan) -> str:
    if plan.fits is False:
        return "with it the job fits"
    return f"about {plan.seconds.value:.0f} s become {better.seconds.value:.0f} s"


def last_resorts(spec: JobSpec, setting: Setting) -> Iterator[Advice]:
    """Where no number of ranks and no ZeRO stage helps."""
    if spec.learner.precision == "fp32":
        yield Advice(
            field="learner.precision",
            now="fp32",
            better="bf16",
            why="halves weights, activations and the cache",
        )
    for number, stage in enumerate(spec.stages):
        if stage.adapter is None and spec.start_of(stage).type != "scratch":
            yield Advice(
                field=f"stages[{number}].adapter",
                now="null",
                better="{rank: 16}",
                why="gradients and Adam of an adapter alone are a hundredth",
            )
    if spec.resources.on_gpu and not spec.learner.offload_optimizer:
        yield Advice(
            field="learner.offload_optimizer",
            now="false",
            better="true",
            why="master weights and Adam move to the host's memory (ZeRO 1 to 3)",
        )


def together(spec: JobSpec) -> Iterator[Advice]:
    """Learners and actors take turns (steps are on-policy), so GPUs of their own idle half the time."""
    rollout, learner = spec.resources.rollout, spec.resources.learner
    if not (spec.needs_pools and spec.resources.on_gpu):
        return
    if rollout.gpus_per_actor >= 1 and learner.gpus_per_worker >= 1:
        yield Advice(
            field="resources.rollout.gpus_per_actor",
            now=f"{rollout.gpus_per_actor:g}",
            better="0.5 (and resources.learner.gpus_per_worker 0.5)",
            why="learners and rollout actors take turns; sharing GPUs, both have all of them, if the "
            "memory of both fits on one",
        )
    elif rollout.gpus_per_actor == 0:
        yield Advice(
            field="resources.rollout.gpus_per_actor",
            now="0",
            better="0.5 (and resources.learner.gpus_per_worker 0.5)",
            why="rollout actors would draw on CPUs, which is slow beside a GPU",
        )
