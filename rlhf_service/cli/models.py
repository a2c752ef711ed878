"""Commands on models and uploaded files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rlhf_service.cli.chat import Conversation, Local, Sampling, Served, Speaker
from rlhf_service.cli.connection import connect, model_ids
from rlhf_service.cli.jobs import Yes
from rlhf_service.cli.plain import plain_errors, readable, written
from rlhf_service.cli.tables import AsJson, print_json, print_record, show, size
from rlhf_service.client.calls import models as calls

models_app = typer.Typer()
files_app = typer.Typer(no_args_is_help=True, help="Files that jobs may read.")
models_app.add_typer(files_app, name="files")

ModelId = Annotated[
    str, typer.Argument(help="Id in `rlhf models`.", metavar="MODEL", autocompletion=model_ids)
]
FileId = Annotated[str, typer.Argument(help="Id in `rlhf files list`.", metavar="FILE")]


@models_app.command()
@plain_errors
def models(as_json: AsJson = False) -> None:
    """List the models of finished jobs, and the base models."""
    with connect() as client:
        found = client.models.list()
    columns = {
        "model": lambda model: model.id,
        "name": lambda model: model.name,
        "path": lambda model: model.path,
    }
    show(found, columns, as_json, "no model yet: a job leaves one when it succeeds")


@models_app.command()
@plain_errors
def model(model: ModelId) -> None:
    """Show one model as JSON."""
    with connect() as client:
        print_record(client.models.get(model))


@models_app.command()
@plain_errors
def delete_model(model: ModelId, yes: Yes = False) -> None:
    """Delete a job's model and those of its stages."""
    with connect() as client:
        client.models.get(model)
        if not yes:
            typer.confirm(f"Delete the weights of {model} for good?", abort=True)
        typer.echo(f"{client.models.delete(model).id} deleted")


@models_app.command()
@plain_errors
def register_model(
    name: Annotated[str, typer.Argument(help="Under which jobs and chats take it.")],
    path: Annotated[str, typer.Argument(help="Model folder that the service can read.")],
) -> None:
    """Give a model folder a name. Its files stay where they are."""
    with connect() as client:
        typer.echo(client.models.register(name, str(Path.cwd() / path)).id)


@models_app.command()
@plain_errors
def lineage(model: ModelId) -> None:
    """Show where a model comes from, with digests of its data, and what came of it."""
    with connect() as client:
        print_record(client.models.lineage(model))


@models_app.command()
@plain_errors
def chat(
    model: Annotated[
        str,
        typer.Argument(
            help="Id in `rlhf models`, a job, or a model folder of this machine.",
            metavar="MODEL",
            autocompletion=model_ids,
        ),
    ],
    prompt: Annotated[str | None, typer.Option(help="Answer this and exit.")] = None,
    system: Annotated[str | None, typer.Option(help="How the model is to behave.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="One of the job's, by its id in `rlhf checkpoints JOB`.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=16_384)] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="The same answer each time.")] = None,
) -> None:
    """Talk to a model of the service, or in a folder of this machine. An empty line or Ctrl-D ends."""
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    with ExitStack() as stack:
        speaker: Speaker
        if Path(model).is_dir() and checkpoint is None:
            speaker = Local(Path(model), sampling)
        else:
            client = stack.enter_context(connect())
            name = model if checkpoint is None else f"{model}:ckpt-{checkpoint}"
            speaker = Served(client, name, sampling)
        talk = Conversation.begin(speaker, system)
        for text in [prompt] if prompt is not None else typed():
            for piece in talk.say(text):
                typer.echo(piece, nl=False)
            typer.echo()


def typed() -> Iterator[str]:
    """What is asked, line by line, until there is none."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if not line:
            return
        yield line


@models_app.command()
@plain_errors
def share(
    model: ModelId,
    tenant: Annotated[list[str], typer.Argument(help="Who may chat with it.")],
) -> None:
    """Let other tenants chat with a finished model or checkpoint of yours. Only for admins."""
    with connect() as client:
        for made in client.models.permit(model, tenant):
            typer.echo(f"{made.id} {made.project_id}")


@models_app.command()
@plain_errors
def shares(model: ModelId, as_json: AsJson = False) -> None:
    """List the tenants that may chat with a model of yours."""
    with connect() as client:
        found = list(client.each(calls.permissions(model)))
    columns = {
        "permission": lambda made: made.id,
        "tenant": lambda made: made.project_id,
        "since": lambda made: datetime.fromtimestamp(made.created_at, UTC).isoformat(" "),
    }
    show(found, columns, as_json, "nobody but you")


@models_app.command()
@plain_errors
def unshare(
    model: ModelId,
    permission: Annotated[str, typer.Argument(help="Id in `rlhf shares MODEL`.")],
) -> None:
    """Take a permission back."""
    with connect() as client:
        typer.echo(f"{client.models.forbid(model, permission).id} deleted")


@files_app.command("list")
@plain_errors
def list_files(as_json: AsJson = False) -> None:
    """List uploaded files, newest first."""
    with connect() as client:
        found = client.files.list()
    columns = {
        "file": lambda file: file.id,
        "name": lambda file: file.filename,
        "size": lambda file: size(file.bytes),
        "uploaded": lambda file: datetime.fromtimestamp(file.created_at, UTC).isoformat(" "),
        "path": lambda file: file.path,
    }
    show(found, columns, as_json, "no file; `rlhf files upload FILE` brings one")


@files_app.command("upload")
@plain_errors
def upload(path: Annotated[Path, typer.Argument(help="JSON Lines file.")]) -> None:
    """Upload a file; a job may name the path that is printed."""
    with connect() as client, readable(path) as file:
        found = client.files.upload(file, path.name)
    typer.echo(f"{found.id} {found.path}")


@files_app.command("get")
@plain_errors
def get_file(
    file: FileId, out: Annotated[Path | None, typer.Option(help="Where to write it.")] = None
) -> None:
    """Fetch an uploaded file."""
    with connect() as client:
        found = client.files.get(file)
        typer.echo(written(out or Path(Path(found.filename).name), client.files.content(file)))


@files_app.command("report")
@plain_errors
def report_file(file: FileId) -> None:
    """Say which stages can read an uploaded file, and which of its rows they cannot."""
    with connect() as client:
        print_json(client.files.report(file))


@files_app.command("delete")
@plain_errors
def delete_file(file: FileId) -> None:
    """Delete an uploaded file. Refused while a job that has not ended reads it."""
    with connect() as client:
        typer.echo(f"{client.files.delete(file).id} deleted")
