"""Signing in, and API keys."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors
from rlhf_service.cli.tables import AsJson, print_record, show
from rlhf_service.client import Client
from rlhf_service.client.address import Address, config_file, find_address, keep
from rlhf_service.errors import RlhfError

keys_app = typer.Typer()
keys_group = typer.Typer(no_args_is_help=True, help="API keys.")
keys_app.add_typer(keys_group, name="keys")


@keys_app.command()
@plain_errors
def login(
    url: Annotated[str, typer.Argument(help="Address of the service: https://rlhf.example.org")],
) -> None:
    """Keep a service's address and your key, so that every command finds it from any folder.

    The key is read from RLHF_API_KEY, from standard input when that is no terminal, or asked for.
    It is tried before it is kept, in a file that only you can read.
    """
    if "://" not in url:
        raise RlhfError(f"{url} is no address: write http://{url} or https://{url}")
    address = Address(url.rstrip("/"), asked_key())
    with Client(address.url, address.api_key) as client:
        client.jobs.list(limit=1)
    keep(address, config_file())
    typer.echo(f"signed in to {address.url}; kept in {config_file()}")
    for name in ("RLHF_URL", "RLHF_API_KEY"):
        if os.environ.get(name):
            typer.echo(f"note: {name} is set and comes before it")


@keys_app.command()
@plain_errors
def logout() -> None:
    """Forget what `rlhf login` kept."""
    path = config_file()
    known = path.exists()
    path.unlink(missing_ok=True)
    typer.echo(f"{path} deleted" if known else "nothing was kept")


@keys_app.command()
@plain_errors
def where() -> None:
    """Say which service commands talk to, and how they know."""
    found = find_address()
    typer.echo(f"{found.url} (from {found.source})")


def asked_key() -> str:
    """Raises RlhfError."""
    key = os.environ.get("RLHF_API_KEY", "")
    if not key and not sys.stdin.isatty():
        key = sys.stdin.readline()
    if not key:
        key = typer.prompt("API key", hide_input=True)
    key = key.strip()
    if not (key and key.isascii() and key.isprintable()):
        raise RlhfError("that is no API key; copy it again")
    return key


@keys_group.command("list")
@plain_errors
def list_keys(as_json: AsJson = False) -> None:
    """List every key, revoked ones too."""
    with connect() as client:
        found = client.keys.list()
    columns = {
        "key": lambda key: key.id,
        "name": lambda key: key.name,
        "begins": lambda key: f"{key.prefix}…",
        "scopes": lambda key: " ".join(key.scopes),
        "created": lambda key: key.created_at,
        "revoked": lambda key: key.revoked_at,
    }
    show(found, columns, as_json)


@keys_group.command("create")
@plain_errors
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.")], as_json: AsJson = False
) -> None:
    """Make a key. Its secret is printed this once."""
    with connect() as client:
        found = client.keys.create(name)
    if as_json:
        print_record(found)
    else:
        typer.echo(found.secret)


@keys_group.command("revoke")
@plain_errors
def revoke_key(key: Annotated[str, typer.Argument(help="Id in `rlhf keys list`.")]) -> None:
    """From now on the key opens nothing."""
    with connect() as client:
        found = client.keys.revoke(key)
    typer.echo(f"{found.id} revoked")
