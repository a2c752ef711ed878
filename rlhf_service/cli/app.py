"""Commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from rlhf_service.cli.connection import connect
from rlhf_service.cli.local import local
from rlhf_service.cli.plain import plain_errors, read_spec
from rlhf_service.cli.watch import Watcher, exit_code
from rlhf_service.client import Job
from rlhf_service.errors import RlhfError

app = typer.Typer(
    name="rlhf",
    help="Submit and watch RLHF training jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(local)

JobId = Annotated[str, typer.Argument(help="Id of the job, as in `rlhf jobs`.", metavar="JOB")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
@plain_errors
def submit(
    spec: Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it ends.")] = False,
) -> None:
    """Submit a job."""
    with connect() as client:
        job = client.jobs.create(read_spec(spec))
        typer.echo(job.id)
        if watch:
            raise typer.Exit(exit_code(Watcher(Console()).run(client.jobs.stream(job.id))))


@app.command()
@plain_errors
def watch(job: JobId) -> None:
    """Show a job live until it ends; exit code 0 if it succeeded."""
    with connect() as client:
        client.jobs.get(job)
        raise typer.Exit(exit_code(Watcher(Console()).run(client.jobs.stream(job))))


@app.command()
@plain_errors
def jobs(as_json: AsJson = False, limit: int = 20) -> None:
    """List jobs, newest first."""
    with connect() as client:
        found = client.jobs.list(limit=limit)
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
        return
    table = Table(Column("job", no_wrap=True), "name", "status", "stage", "step", "message")
    for job in found:
        stage, message = job.progress.stage or "", escape(job.message)
        table.add_row(job.id, escape(job.name), job.status, stage, steps(job), message)
    Console().print(table)


@app.command()
@plain_errors
def job(job: JobId) -> None:
    """Show one job as JSON."""
    with connect() as client:
        print_json(client.jobs.get(job).model_dump(mode="json"))


@app.command()
@plain_errors
def cancel(job: JobId) -> None:
    """Stop a job for good; its last checkpoint stays."""
    act("cancel", job)


@app.command()
@plain_errors
def pause(job: JobId) -> None:
    """Checkpoint a job and free its resources."""
    act("pause", job)


@app.command()
@plain_errors
def resume(job: JobId) -> None:
    """Queue a paused job; it goes on from its checkpoint."""
    act("resume", job)


@app.command()
@plain_errors
def events(
    job: JobId, after: Annotated[int, typer.Option(help="Only behind this one.")] = 0
) -> None:
    """Print a job's events, one JSON object a line."""
    with connect() as client:
        for event in client.jobs.events(job, after):
            typer.echo(event.model_dump_json())


@app.command()
@plain_errors
def logs(job: JobId) -> None:
    """Print what the job's driver printed."""
    with connect() as client:
        typer.echo(client.jobs.logs(job))


@app.command()
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
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise RlhfError(f"{path} cannot be written: {fault.strerror}") from None
    typer.echo(path)


@app.command()
@plain_errors
def models(as_json: AsJson = False) -> None:
    """List the models of finished jobs."""
    with connect() as client:
        found = [model.model_dump(mode="json") for model in client.models.list()]
    if as_json:
        print_json(found)
        return
    table = Table(Column("model", no_wrap=True), "name", Column("path", overflow="fold"))
    for model in found:
        name, path = (escape(str(model.get(key, ""))) for key in ("name", "path"))
        table.add_row(model["id"], name, path)
    Console().print(table)


FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=FORWARDED)
def serve(context: typer.Context) -> None:
    """Run the service on this machine: Ray, the API and its page."""
    embedded("serve", context.args)


@app.command(context_settings=FORWARDED)
def demo(context: typer.Context) -> None:
    """Run the whole recipe once on this machine: SFT, reward model, PPO."""
    embedded("demo", context.args)


@app.command(context_settings=FORWARDED)
def run(context: typer.Context) -> None:
    """Run one of the recipes on this machine, baseline and improvement."""
    embedded("run", context.args)


def embedded(command: str, arguments: list[str]) -> None:
    """Become the embedded service, which lives in another package."""
    os.execv(sys.executable, [sys.executable, "-m", "api.embedded", command, *arguments])


def act(verb: str, job_id: str) -> None:
    with connect() as client:
        typer.echo(f"{job_id} {getattr(client.jobs, verb)(job_id).status}")


def steps(job: Job) -> str:
    return f"{job.progress.step}/{job.progress.steps}" if job.progress.steps else ""


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def main() -> None:
    app()
