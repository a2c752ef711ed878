"""Signing in, and API keys."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors
from rlhf_service.cli.tables import AsJson, print_record, show
from rlhf_service.client import Client, NewKey
from rlhf_service.client.address import Address, config_file, find_address, keep
from rlhf_service.errors import RlhfError

keys_app = typer.Typer()
keys_group = typer.Typer(no_args_is_help=True, help="API keys.")
keys_app.add_typer(keys_group, name="keys")


KeyId = Annotated[str, typer.Argument(help="Id in `rlhf keys list`.", metavar="KEY")]


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
        client.me()
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
    """Say which service commands talk to, how they know, and as whom."""
    found = find_address()
    typer.echo(f"{found.url} (from {found.source})")
    with Client(found.url, found.api_key) as client:
        me = client.me()
    typer.echo(f"{me.name} of {me.tenant}: {' '.join(me.scopes)}")


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
        "tenant": lambda key: key.tenant,
        "last used": lambda key: key.last_used_at,
        "ends": lambda key: key.expires_at,
        "revoked": lambda key: key.revoked_at,
    }
    show(found, columns, as_json)


@keys_group.command("create")
@plain_errors
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write or admin; all when absent; repeatable.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Another tenant: the operator's.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Ends after so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is printed this once."""
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with connect() as client:
        told(client.keys.create(name, scopes=scope, tenant=tenant, expires_at=ends), as_json)


@keys_group.command("rotate")
@plain_errors
def rotate_key(
    key: KeyId,
    grace: Annotated[int, typer.Option(min=0, help="Seconds the old secret still works.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a new key in place of one. Its secret is printed this once."""
    with connect() as client:
        told(client.keys.rotate(key, grace), as_json)


@keys_group.command("revoke")
@plain_errors
def revoke_key(key: KeyId) -> None:
    """From now on the key opens nothing."""
    with connect() as client:
        found = client.keys.revoke(key)
    typer.echo(f"{found.id} revoked")


def told(key: NewKey, as_json: bool) -> None:
    if as_json:
        print_record(key)
    else:
        typer.echo(key.secret)
