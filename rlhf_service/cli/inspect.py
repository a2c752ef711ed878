"""Commands that read what a job says and leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlhf_service.cli.connection import connect
from rlhf_service.cli.jobs import JobId
from rlhf_service.cli.plain import plain_errors, written
from rlhf_service.cli.tables import AsJson, print_json, show, size
from rlhf_service.cli.watch import figures
from rlhf_service.client.calls import jobs as calls

inspect_app = typer.Typer()


@inspect_app.command()
@plain_errors
def events(
    job: JobId,
    after: Annotated[int, typer.Option(help="Only behind this one.")] = 0,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it ends.")] = False,
) -> None:
    """Print a job's events, one JSON object a line."""
    with connect() as client:
        found = client.jobs.stream(job, after) if follow else client.jobs.events(job, after)
        for event in found:
            typer.echo(event.model_dump_json())


@inspect_app.command()
@plain_errors
def metrics(
    job: JobId,
    stage: Annotated[str | None, typer.Option(help="Only of this stage.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest report of every step."""
    with connect() as client:
        found = client.jobs.metrics(job, stage)
    columns = {
        "stage": lambda point: point.stage,
        "step": lambda point: f"{point.step}/{point.steps}",
        "figures": lambda point: figures(point.report),
    }
    show(found, columns, as_json, "no step yet")


@inspect_app.command()
@plain_errors
def samples(
    job: JobId,
    number: Annotated[int, typer.Option("-n", min=1, help="Responses to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the newest responses that a job drew, with what each part of the reward gave."""
    with connect() as client:
        sets = list(client.jobs.every_sample(job))
    if as_json:
        print_json([one.model_dump(mode="json") for one in sets])
        return
    if not sets:
        typer.echo("no sample yet", err=True)
        return
    newest = sets[-1]
    table = Table(
        "prompt",
        "response",
        "score",
        title=f"{newest.kind} of stage {newest.stage} after step {newest.step}",
        show_lines=True,
    )
    for sample in newest.samples[:number]:
        parts = "".join(f"\n{name} {value:.3g}" for name, value in sample.components.items())
        score = f"{sample.score:+.3f}{parts}"
        table.add_row(*(escape(text) for text in (sample.prompt, sample.response, score)))
    Console().print(table)


@inspect_app.command()
@plain_errors
def checkpoints(job: JobId, as_json: AsJson = False) -> None:
    """List a job's checkpoints, newest first, and whether they are whole."""
    with connect() as client:
        found = list(client.each(calls.checkpoints(job)))
    columns = {
        "checkpoint": lambda saved: saved.id,
        "saved": lambda saved: saved.created_at,
        "size": lambda saved: size(saved.bytes),
        "state": lambda saved: "whole" if saved.valid else saved.fault,
        "model": lambda saved: saved.model,
    }
    show(found, columns, as_json, "no checkpoint")


@inspect_app.command()
@plain_errors
def artefacts(
    job: JobId,
    path: Annotated[str, typer.Argument(help="Only below this.")] = "",
    as_json: AsJson = False,
) -> None:
    """List a job's files."""
    with connect() as client:
        found = list(client.each(calls.artefacts(job, path)))
    columns = {
        "file": lambda file: file.path,
        "size": lambda file: size(file.bytes),
        "changed": lambda file: file.modified_at,
    }
    show(found, columns, as_json, "no file")


@inspect_app.command()
@plain_errors
def download(
    job: JobId,
    path: Annotated[
        str, typer.Argument(help="File or folder, as in `rlhf artefacts JOB`.")
    ] = "model",
    out: Annotated[
        Path | None, typer.Option(help="Folder to put it in; the job's id when absent.")
    ] = None,
) -> None:
    """Fetch a job's files, its model when nothing is named; goes on where a connection broke."""
    with connect() as client:
        for fetched in client.jobs.download_all(job, out or Path(job), path):
            typer.echo(fetched)


@inspect_app.command()
@plain_errors
def report(
    job: JobId,
    out: Annotated[
        Path | None, typer.Option(help="File to write; `.json` gives data, else a page.")
    ] = None,
) -> None:
    """Save a job's report: what each stage did and changed, charts and samples in one page."""
    path = out or Path(f"{job}-report.html")
    with connect() as client:
        if path.suffix == ".json":
            text = json.dumps(client.jobs.report(job), indent=2, ensure_ascii=False)
        else:
            text = client.jobs.report_page(job)
    typer.echo(written(path, text.encode()))
