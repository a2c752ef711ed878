"""A client of the service that commands talk to."""

from __future__ import annotations

import typer

from rlhf_service.client import Client
from rlhf_service.client.address import NOWHERE
from rlhf_service.client.retry import Retry
from rlhf_service.errors import RlhfError

HURRY = Retry(tries=1)
"""While the shell waits for a completion."""


def connect() -> Client:
    """A client. Exits with a message when there is nothing to connect to."""
    try:
        return Client()
    except RlhfError as fault:
        if str(fault) != NOWHERE:
            raise
        typer.echo(f"error: {fault}", err=True)
        raise typer.Exit(2) from None


def job_ids(incomplete: str) -> list[str]:
    """Ids for the shell's completion; none when the service does not answer at once."""
    try:
        with Client(timeout=2.0, retry=HURRY) as client:
            return [job.id for job in client.jobs.list(limit=50) if job.id.startswith(incomplete)]
    except Exception:  # a shell that completes must not print faults
        return []


def model_ids(incomplete: str) -> list[str]:
    """The same of models."""
    try:
        with Client(timeout=2.0, retry=HURRY) as client:
            return [m.id for m in client.models.list(limit=50) if m.id.startswith(incomplete)]
    except Exception:
        return []
