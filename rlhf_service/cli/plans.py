"""A plan for people."""

from __future__ import annotations

from collections.abc import Callable

import typer

from rlhf_service.cli.tables import show, size
from rlhf_service.client.records.drafts import Estimate, Plan

VERDICTS = {True: "it fits", False: "it does not fit", None: "whether it fits cannot be said"}


def tell_plan(plan: Plan) -> None:
    typer.echo(f"{VERDICTS[plan.fits]}; training takes {said(plan.seconds, time)} on {plan.device}")
    for reason in plan.reasons:
        typer.echo(f"  {reason}")
    stages = {
        "stage": lambda stage: stage.stage,
        "steps": lambda stage: stage.steps,
        "a step": lambda stage: said(stage.step, time),
        "in all": lambda stage: said(stage.seconds, time),
    }
    show(plan.stages, stages, as_json=False)
    memory = {
        "process": lambda role: role.role,
        "how many": lambda role: role.processes,
        "each needs": lambda role: said(role.bytes, lambda count: size(int(count))),
        "on": lambda role: role.on,
    }
    show(plan.memory, memory, as_json=False)
    for one in plan.advice:
        typer.echo(f"{one.field}: {one.now} → {one.better}: {one.why}")


def said(estimate: Estimate, write: Callable[[float], str]) -> str:
    if estimate.value is None:
        return "unknown"
    return f"{'at least ' if estimate.at_least else ''}{write(estimate.value)}"


def time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
