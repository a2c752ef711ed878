"""Commands on jobs: submit, look, act."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rlhf_service.cli.connection import connect, job_ids
from rlhf_service.cli.patch import changed
from rlhf_service.cli.plain import plain_errors, read_spec
from rlhf_service.cli.tables import AsJson, print_record, show
from rlhf_service.cli.watch import Watcher, exit_code
from rlhf_service.client import Client, Job
from rlhf_service.client.calls import jobs as calls
from rlhf_service.errors import RlhfError
from rlhf_service.job import JobStatus

jobs_app = typer.Typer()

JobId = Annotated[
    str,
    typer.Argument(help="Id of the job, as in `rlhf jobs`.", metavar="JOB", autocompletion=job_ids),
]

Watch = Annotated[bool, typer.Option("--watch", help="Show it until it ends.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

COLUMNS = {
    "job": lambda job: job.id,
    "name": lambda job: job.name,
    "status": lambda job: job.status,
    "stage": lambda job: job.progress.stage,
    "step": lambda job: steps(job),
    "message": lambda job: job.message,
}
CUT = ("name", "message")
"""Told whole by `rlhf job`."""


@jobs_app.command()
@plain_errors
def submit(
    spec: Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")],
    watch: Watch = False,
    key: Annotated[
        str | None,
        typer.Option(help="Idempotency key: with the same key and file there is one job only."),
    ] = None,
) -> None:
    """Submit a job."""
    with connect() as client:
        begun(client, client.jobs.create(read_spec(spec), key), watch)


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
    show(found[:limit], COLUMNS, as_json, "no job; submit one with `rlhf submit FILE`", CUT)


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


@jobs_app.command()
@plain_errors
def retry(
    job: JobId,
    beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Take nothing over from the old job.")
    ] = False,
    watch: Watch = False,
) -> None:
    """Try a failed or cancelled job again, as a new job that goes on from its newest checkpoint."""
    with connect() as client:
        begun(client, client.jobs.retry(job, "beginning" if beginning else "checkpoint"), watch)


@jobs_app.command()
@plain_errors
def clone(
    job: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Field and value, `seed=1`, `stages.ppo.steps=9`, `stages=@new.yaml`; repeatable.",
        ),
    ] = None,
    watch: Watch = False,
) -> None:
    """Submit a job once more, with changes to its specification."""
    with connect() as client:
        patch = changed(changes or (), client.jobs.get(job).spec)
        begun(client, client.jobs.clone(job, patch), watch)


@jobs_app.command()
@plain_errors
def delete(job: JobId, yes: Yes = False) -> None:
    """Delete a job that ended, with its log and files."""
    with connect() as client:
        found = client.jobs.get(job)
        if not yes:
            typer.confirm(f"Delete {found.name} ({job}), its log and its files?", abort=True)
        typer.echo(f"{client.jobs.delete(job).id} deleted")


def begun(client: Client, job: Job, watched: bool) -> None:
    """Tell a new job's id, and show it to its end when asked."""
    typer.echo(job.id)
    if watched:
        raise typer.Exit(exit_code(Watcher(Console()).run(client.jobs.stream(job.id))))


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
