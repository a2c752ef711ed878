"""Where the service is: flags' environment variables, else what a running `rlhf serve` left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer

from rlhf_service.client import Client

CONNECTION = Path(".rlhf") / "connection.json"


def connect() -> Client:
    """A client. Exits with a message when there is nothing to connect to."""
    known = json.loads(CONNECTION.read_text(encoding="utf-8")) if CONNECTION.exists() else {}
    url = os.environ.get("RLHF_URL") or known.get("url")
    api_key = os.environ.get("RLHF_API_KEY") or known.get("api_key")
    if not url or not api_key:
        typer.echo(
            "error: no service to talk to: set RLHF_URL and RLHF_API_KEY, "
            "or run `rlhf serve` in this folder",
            err=True,
        )
        raise typer.Exit(2)
    return Client(url, api_key)
