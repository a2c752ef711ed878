"""Commands that need no service: they work on files of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from rlhf_service.cli.plain import plain_errors, read_spec
from rlhf_service.data.fit import fits
from rlhf_service.errors import RlhfError
from rlhf_service.spec.data import DataSpec

local = typer.Typer()


@local.command()
@plain_errors
def data(
    file: Annotated[Path, typer.Argument(help="Data file or folder.")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="Our column and the file's, `prompt=question`; may be repeated."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of a dataset folder.")] = None,
) -> None:
    """Say which stages can read a data file, and what is wrong with its first bad rows."""
    columns = dict(renamed(pair) for pair in column or ())
    found = fits(DataSpec(path=str(file.resolve()), split=split, columns=columns))
    table = Table(Column("stages", no_wrap=True), "rows", "median", "longest", title="characters")
    for fit in found:
        if fit.fault is None:
            table.add_row(fit.stages, *map(str, (fit.rows, fit.median_length, fit.longest)))
    if table.rows:
        Console().print(table)
    for fit in found:
        if fit.fault is not None:
            typer.echo(f"not for {fit.stages}: {fit.fault}")
    if not table.rows:
        raise typer.Exit(1)


def renamed(pair: str) -> tuple[str, str]:
    """(our column, the file's) of `ours=theirs`. Raises RlhfError."""
    ours, equals, theirs = pair.partition("=")
    if not (ours and equals and theirs):
        raise RlhfError(f"--column {pair}: write our column, =, and the file's: prompt=question")
    return ours, theirs


@local.command()
@plain_errors
def preflight(
    spec: Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")],
    stage: Annotated[
        str | None, typer.Option(help="Name of the stage; the first with a reward when absent.")
    ] = None,
) -> None:
    """Look at a stage's reward before any training: what it pays, and for what it should not."""
    from rlhf_service.cli.preflight import look

    found, source = look(read_spec(spec), stage)
    console = Console()
    table = Table("answers", "mean score", title=f"reward of stage {found.stage}")
    spread = "" if found.standard_deviation is None else f" ± {found.standard_deviation:.3g}"
    mean = "none could be scored" if found.mean is None else f"{found.mean:.4g}{spread}"
    table.add_row(escape(f"{source} ({found.n})"), mean)
    for name, value in found.trivial.items():
        table.add_row(escape(name), "" if value is None else f"{value:.4g}")
    console.print(table)
    console.print(f"{found.scores_per_second:.3g} scores a second", highlight=False)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    if found.warnings:
        raise typer.Exit(1)


@local.command()
@plain_errors
def replay(
    bundle: Annotated[
        Path,
        typer.Argument(help="Folder of a kept step: <job folder>/bundles/<stage>-step-<number>."),
    ],
) -> None:
    """Take a kept step again, offline; exit code 0 when every figure is the same to the last bit."""
    from rlhf_service.replay import replay as take_again

    found = take_again(bundle)
    differences = found.differences()
    table = Table("figure", "then", "now", title=f"stage {found.stage}, step {found.step}")
    for name in ("policy_loss", "value_loss", "approx_kl", "policy_grad_norm", "score_mean", "kl"):
        table.add_row(name, *(repr(getattr(r, name)) for r in (found.before, found.again)))
    Console().print(table)
    for name, (then, now) in differences.items():
        typer.echo(f"differs: {name} was {then!r}, is {now!r}")
    typer.echo("the same to the last bit" if not differences else "not the same")
    if differences:
        raise typer.Exit(1)
