"""Where the service is: flags' environment variables, else what a running `rlhf serve` left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer

from rlhf_service.client import Client
from rlhf_service.errors import RlhfError

CONNECTION = Path(".rlhf") / "connection.json"


def connect() -> Client:
    """A client. Exits with a message when there is nothing to connect to."""
    known = left_by_serve()
    url = (os.environ.get("RLHF_URL") or known.get("url") or "").strip()
    api_key = (os.environ.get("RLHF_API_KEY") or known.get("api_key") or "").strip()
    if not url or not api_key:
        typer.echo(
            "error: no service to talk to: set RLHF_URL and RLHF_API_KEY, "
            "or run `rlhf serve` in this folder",
            err=True,
        )
        raise typer.Exit(2)
    if not (api_key.isascii() and api_key.isprintable()):
        raise RlhfError("the API key has characters that no key has; copy it again")
    return Client(url, api_key)


def left_by_serve() -> dict[str, str]:
    """URL and key of the service that runs in this folder; empty without one. Raises RlhfError."""
    if not CONNECTION.exists():
        return {}
    try:
        found = json.loads(CONNECTION.read_text(encoding="utf-8"))
    except OSError as fault:
        raise RlhfError(f"{CONNECTION} cannot be read: {fault.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RlhfError(f"{CONNECTION} is damaged; start `rlhf serve` again, which writes it anew")
    return found
