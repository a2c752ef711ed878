"""Commands on jobs: submit, look, act."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rlhf_service.cli.connection import connect, job_ids
from rlhf_service.cli.plain import plain_errors, read_spec
from rlhf_service.cli.tables import AsJson, print_record, show
from rlhf_service.cli.watch import Watcher, exit_code
from rlhf_service.client import Job
from rlhf_service.client.calls import jobs as calls
from rlhf_service.errors import RlhfError
from rlhf_service.job import JobStatus

jobs_app = typer.Typer()

JobId = Annotated[
    str,
    typer.Argument(help="Id of the job, as in `rlhf jobs`.", metavar="JOB", autocompletion=job_ids),
]

COLUMNS = {
    "job": lambda job: job.id,
    "name": lambda job: job.name,
    "status": lambda job: job.status,
    "stage": lambda job: job.progress.stage,
    "step": lambda job: steps(job),
    "message": lambda job: job.message,
}


@jobs_app.command()
@plain_errors
def submit(
    spec: Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it ends.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Idempotency key: with the same key and file there is one job only."),
    ] = None,
) -> None:
    """Submit a job."""
    with connect() as client:
        job = client.jobs.create(read_spec(spec), key)
        typer.echo(job.id)
        if watch:
            raise typer.Exit(exit_code(Watcher(Console()).run(client.jobs.stream(job.id))))


@jobs_app.command()
@plain_errors
def watch(job: JobId) -> None:
    """Show a job live until it ends; exit code 0 if it succeeded. Reconnects by itself."""
    with connect() as client:
        client.jobs.get(job)
        raise typer.Exit(exit_code(Watcher(Console()).run(client.jobs.stream(job))))


@jobs_app.command()
@plain_errors
def jobs(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    status: Annotated[
        list[JobStatus] | None, typer.Option(help="Only in this state; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only with this key=value; may be repeated.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Only with this in the name, or first in the id.")
    ] = None,
) -> None:
    """List jobs, newest first."""
    labels = dict(pair(text) for text in label or ())
    call = calls.listed(limit=min(limit, 1000), status=status, labels=labels, search=search)
    found: list[Job] = []
    with connect() as client:
        for part in client.pages(call):
            found += part
            if len(found) >= limit:
                break
    show(found[:limit], COLUMNS, as_json, "no job; submit one with `rlhf submit FILE`")


@jobs_app.command()
@plain_errors
def job(job: JobId) -> None:
    """Show one job as JSON."""
    with connect() as client:
        print_record(client.jobs.get(job))


@jobs_app.command()
@plain_errors
def cancel(job: JobId) -> None:
    """Stop a job for good; its last checkpoint stays."""
    with connect() as client:
        said(client.jobs.cancel(job))


@jobs_app.command()
@plain_errors
def pause(job: JobId) -> None:
    """Checkpoint a job and free its resources."""
    with connect() as client:
        said(client.jobs.pause(job))


@jobs_app.command()
@plain_errors
def resume(job: JobId) -> None:
    """Queue a paused job; it goes on from its checkpoint."""
    with connect() as client:
        said(client.jobs.resume(job))


def said(job: Job) -> None:
    typer.echo(f"{job.id} {job.status}")


def steps(job: Job) -> str:
    return f"{job.progress.step}/{job.progress.steps}" if job.progress.steps else ""


def pair(text: str) -> tuple[str, str]:
    """Raises RlhfError."""
    key, sign, value = text.partition("=")
    if not sign:
        raise RlhfError(f"--label {text}: write key=value")
    return key, value
