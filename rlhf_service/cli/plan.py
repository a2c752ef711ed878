"""`rlhf plan` and `rlhf calibrate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors, read_spec
from rlhf_service.errors import RlhfError
from rlhf_service.explain import explain
from rlhf_service.planning.records import Estimate, JobPlan

if TYPE_CHECKING:
    from rlhf_service.planning.parts import Setting

GIB = 2**30

planning = typer.Typer()


@planning.command()
@plain_errors
def plan(
    spec: Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")],
    gpu: Annotated[
        str | None, typer.Option(help="A GPU of the catalogue, for jobs on GPUs: H100.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or cores, that advice may use.")
    ] = None,
    profile: Annotated[
        list[Path] | None,
        typer.Option(
            help="Plan here, without a service, by this profile of `rlhf calibrate`; "
            "once more for that of a GPU."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a job would need, before it runs; exit code 1 when it does not fit."""
    raw = read_spec(spec)
    found = worked_out(raw, gpu, devices, profile) if profile else asked(raw, gpu, devices)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(Console(), found)
        if gpu and not any(role.on == "cuda" for role in found.memory):
            typer.echo(f"note: the job reserves no GPU (resources), so --gpu {gpu} changes nothing")
    if found.fits is False:
        raise typer.Exit(1)


FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@planning.command(context_settings=FORWARDED)
def calibrate(context: typer.Context) -> None:
    """Measure this machine, or with --device cuda its GPU, so that plans know its memory and speed."""
    # It starts processes of the cluster, which lives in another package.
    os.execv(sys.executable, [sys.executable, "-m", "cluster.calibrate", *context.args])


def asked(raw: dict[str, Any], gpu: str | None, devices: int | None) -> JobPlan:
    """The service's plan."""
    with connect() as client:
        return client.drafts.plan(raw, gpu=gpu, devices=devices)


def worked_out(
    raw: dict[str, Any], gpu: str | None, devices: int | None, profiles: Sequence[Path]
) -> JobPlan:
    """The same arithmetic in this process. Raises RlhfError."""
    from rlhf_service.planning.placement import advised
    from rlhf_service.spec import JobSpec

    try:
        spec = JobSpec.model_validate(raw)
    except ValidationError as fault:
        first = explain(dict(fault.errors()[0]), raw, lambda _: "")
        raise RlhfError(f"{first['field']}: {first['message']}") from None
    setting = setting_of(profiles, gpu)
    cores = setting.host.cores if setting.host else 1
    return advised(spec, setting, devices or (8 if spec.resources.on_gpu else cores))


def setting_of(profiles: Sequence[Path], gpu: str | None) -> Setting:
    """Where a job would run by those files, and on that GPU of the catalogue. Raises RlhfError."""
    from rlhf_service.planning.catalogue import GPUS, gpu_profile
    from rlhf_service.planning.device import read_profile
    from rlhf_service.planning.parts import Setting

    found = []
    if gpu is not None:
        if gpu not in GPUS:
            raise RlhfError(f"no GPU {gpu!r} in the catalogue; there are {', '.join(GPUS)}")
        found.append((f"--gpu {gpu}", gpu_profile(gpu)))
    for path in profiles:
        profile = read_profile(path)
        if profile is None:
            raise RlhfError(f"there is no {path}; `rlhf calibrate --out {path}` writes it")
        found.append((f"--profile {path}", profile))
    for kind, what in (("cpu", "machines"), ("cuda", "GPUs")):
        alike = [name for name, profile in found if profile.kind == kind]
        if len(alike) > 1:
            raise RlhfError(f"{' and '.join(alike)} are different {what} to plan for; give one")
    return Setting.of(profile for _, profile in found)


def show(console: Console, plan: JobPlan) -> None:
    """As tables."""
    console.print(f"on {escape(plan.device)} ({escape(plan.source)})", highlight=False)
    memory = Table("processes", Column("each", justify="right"), "most of it", title="memory")
    for role in plan.memory:
        widest = sorted(role.parts, key=lambda part: -part.bytes)[:3]
        parts = ", ".join(f"{part.name} {part.bytes / GIB:.2f}" for part in widest)
        memory.add_row(f"{role.processes} × {role.role} ({role.on})", size(role.bytes), parts)
    console.print(memory)
    stages = Table("stage", "steps", "a step", "all", "phases", title="seconds")
    for stage in plan.stages:
        phases = ", ".join(f"{name} {figure(one)}" for name, one in stage.phases.items())
        stages.add_row(
            stage.stage, str(stage.steps), figure(stage.step), figure(stage.seconds), phases
        )
    console.print(stages)
    verdict = {True: "fits", False: "does not fit", None: "whether it fits is not known"}
    console.print(f"[bold]{verdict[plan.fits]}[/bold]; {duration(plan.seconds)}")
    for reason in plan.reasons:
        console.print(f"- {escape(reason)}", highlight=False)
    for one in plan.advice:
        console.print(
            f"advice: {escape(one.field)} {escape(one.now)} → {escape(one.better)}: {escape(one.why)}",
            highlight=False,
        )
    for assumed in plan.assumptions:
        console.print(f"[dim]assumed: {escape(assumed)}[/dim]", highlight=False)


def duration(estimate: Estimate) -> str:
    """Of the whole job."""
    known = estimate.value is not None
    return f"{figure(estimate)} s in all" if known else "how long it takes is not known"


def size(estimate: Estimate) -> str:
    """GiB."""
    if estimate.value is None:
        return "unknown"
    return f"{'≥ ' if estimate.at_least else ''}{estimate.value / GIB:.2f} GiB"


def figure(estimate: Estimate) -> str:
    """Three digits."""
    if estimate.value is None:
        return "unknown"
    return f"{'≥ ' if estimate.at_least else ''}{estimate.value:.3g}"
