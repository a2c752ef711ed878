"""The command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from rlhf_service.cli.doctor import machine, software
from rlhf_service.cli.doctor.finding import Finding, Level
from rlhf_service.cli.doctor.service import service
from rlhf_service.cli.doctor.vllm import vllm
from rlhf_service.cli.plain import plain_errors
from rlhf_service.cli.tables import AsJson, print_json

doctor_app = typer.Typer()

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@doctor_app.command()
@plain_errors
def doctor(
    folder: Annotated[Path, typer.Option(help="State folder of `rlhf serve`.")] = Path(".rlhf"),
    port: Annotated[int, typer.Option(help="Port of `rlhf serve`.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Check this installation and say what to do; exit code 1 when something fails."""
    console = Console(highlight=False)
    found: list[Finding] = []
    for finding in findings(folder.resolve(), port):
        found.append(finding)
        if not as_json:
            tell(console, finding)
    if as_json:
        print_json([finding.model_dump(mode="json") for finding in found])
    else:
        console.print(summary(found))
    if any(finding.level is Level.FAIL for finding in found):
        raise typer.Exit(1)


def findings(folder: Path, port: int) -> Iterator[Finding]:
    """One after the other, so that slow ones do not hold up what is known."""
    yield software.python()
    yield from software.packages()
    yield software.compiler()
    yield machine.memory()
    yield machine.storage(folder)
    yield machine.disk(folder)
    yield machine.shared_memory()
    yield machine.port(port)
    yield software.sandbox()
    yield software.gpu()
    yield vllm()
    yield from service()


def tell(console: Console, finding: Finding) -> None:
    colour = COLOURS[finding.level]
    line = f"[{colour}]{finding.level:4}[/]  {escape(finding.name)}: {escape(finding.said)}"
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(f"      → {escape(finding.remedy)}", soft_wrap=True)


def summary(found: Sequence[Finding]) -> str:
    fails, warns = (
        sum(finding.level is level for finding in found) for level in (Level.FAIL, Level.WARN)
    )
    if fails:
        return f"{fails} to mend" + (f", {warns} to know of" if warns else "")
    return "all is well" + (f"; {warns} to know of" if warns else "")
