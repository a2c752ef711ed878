"""Commands on jobs that are still to be submitted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors, read_spec, spec_text
from rlhf_service.cli.tables import AsJson, print_json, print_record, show
from rlhf_service.client.call import Call, plain
from rlhf_service.errors import RlhfError

drafts_app = typer.Typer()

SpecFile = Annotated[Path, typer.Argument(help="Job specification, YAML or JSON.")]


@drafts_app.command()
@plain_errors
def check(spec: SpecFile, as_json: AsJson = False) -> None:
    """Check a job as a submission would, and name every wrong field; nothing is submitted."""
    with connect() as client:
        found = client.drafts.check(spec_text(spec))
    if as_json:
        print_record(found)
    for fault in found.faults if not as_json else ():
        where = f"{spec}:{fault.line}" if fault.line else str(spec)
        typer.echo(f"{where}: {fault.field + ': ' if fault.field else ''}{fault.message}", err=True)
    if found.faults:
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"nothing wrong{'; ' + found.note if found.note else ''}")


@drafts_app.command()
@plain_errors
def recipes(as_json: AsJson = False) -> None:
    """List the recipes: complete jobs on data that comes with the service."""
    with connect() as client:
        found = client.drafts.recipes()
    show(found, {"recipe": lambda r: r.name, "what": lambda r: r.title}, as_json)


@drafts_app.command()
@plain_errors
def recipe(
    name: Annotated[str, typer.Argument(help="Name in `rlhf recipes`.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides everything random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Have a recipe's data written and print its job: `rlhf recipe NAME > job.yaml`."""
    with connect() as client:
        found = client.drafts.prepare(name, seed)
    if as_json:
        print_record(found)
    else:
        typer.echo(found.text)


@drafts_app.command()
@plain_errors
def grade(
    grader: Annotated[Path, typer.Argument(help="Grader, YAML or JSON.")],
    response: Annotated[str, typer.Option(help="What to score.")],
    item: Annotated[str, typer.Option(help="The data row, as a JSON object.")] = "{}",
) -> None:
    """Score one response by a grader."""
    with connect() as client:
        print_json(client.drafts.run_grader(read_spec(grader), response, row(item)))


@drafts_app.command()
@plain_errors
def api(
    method: Annotated[str, typer.Argument(help="GET, POST, DELETE …")],
    path: Annotated[str, typer.Argument(help="Such as /v1/jobs.")],
    data: Annotated[
        str | None, typer.Option("-d", "--data", help="JSON body; `-` reads standard input.")
    ] = None,
) -> None:
    """Send any request to the API and print its answer."""
    body = None if data is None else any_json(sys.stdin.read() if data == "-" else data)
    call = Call(method.upper(), path, plain, json=body, repeatable=method.upper() == "GET")
    with connect() as client:
        print_json(client.send(call))


def any_json(text: str) -> Any:
    """Raises RlhfError."""
    try:
        return json.loads(text)
    except ValueError as fault:
        raise RlhfError(f"this is no JSON: {fault}") from None


def row(text: str) -> dict[str, Any]:
    """Raises RlhfError."""
    found = any_json(text)
    if not isinstance(found, dict):
        raise RlhfError("--item must be a JSON object")
    return found
