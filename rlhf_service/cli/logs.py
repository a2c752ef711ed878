"""What a job's driver printed."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.jobs import JobId
from rlhf_service.cli.plain import plain_errors

logs_app = typer.Typer()


@logs_app.command()
@plain_errors
def logs(
    job: JobId,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job ends.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt; the newest when absent.")
    ] = None,
    tail: Annotated[
        int | None, typer.Option("-n", "--tail", min=0, help="Only the last lines.")
    ] = None,
) -> None:
    """Print what the job's driver printed."""
    with connect() as client:
        if not follow:
            text = client.jobs.log(job, attempt, tail=tail).text
            typer.echo(text, nl=not text.endswith("\n"))
            return
        for piece in client.jobs.follow_log(job, attempt, tail):
            typer.echo(piece, nl=False)
