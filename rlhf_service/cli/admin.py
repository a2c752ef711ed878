"""Quotas and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors
from rlhf_service.cli.tables import AsJson, show
from rlhf_service.client import Quota
from rlhf_service.client.calls import admin as calls

admin_app = typer.Typer()
quotas_group = typer.Typer(no_args_is_help=True, help="What tenants may have at once.")
admin_app.add_typer(quotas_group, name="quotas")

Tenant = Annotated[
    str, typer.Argument(help="A tenant, or `*`: those without a quota of their own.")
]
LIMITS = ("running_jobs", "queued_jobs", "cpus", "gpus")


@quotas_group.command("list")
@plain_errors
def list_quotas(as_json: AsJson = False) -> None:
    """Show limits and present use: yours; to the operator, every tenant's."""
    with connect() as client:
        told(list(client.quotas.list()), as_json)


@quotas_group.command("set")
@plain_errors
def set_quota(
    tenant: Tenant,
    running_jobs: Annotated[int | None, typer.Option(min=0)] = None,
    queued_jobs: Annotated[int | None, typer.Option(min=0)] = None,
    cpus: Annotated[float | None, typer.Option(min=0)] = None,
    gpus: Annotated[float | None, typer.Option(min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Set every limit of a tenant; what is not named has none. Only for the operator."""
    with connect() as client:
        found = client.quotas.set(
            tenant, running_jobs=running_jobs, queued_jobs=queued_jobs, cpus=cpus, gpus=gpus
        )
    told([found], as_json)


@quotas_group.command("reset")
@plain_errors
def reset_quota(tenant: Tenant, as_json: AsJson = False) -> None:
    """Forget a tenant's own limits: those of `*` hold. Only for the operator."""
    with connect() as client:
        told([client.quotas.reset(tenant)], as_json)


def told(quotas: list[Quota], as_json: bool) -> None:
    """Use over limit of each."""
    columns: dict[str, Callable[[Quota], object]] = {
        "tenant": lambda quota: quota.tenant,
        **{name.replace("_", " "): partial(of, name) for name in LIMITS},
        "limits": lambda quota: "own" if quota.own else "those of *",
    }
    show(quotas, columns, as_json, "no quota")


def of(name: str, quota: Quota) -> str:
    limit = getattr(quota, name)
    return f"{getattr(quota.use, name):g} / {'∞' if limit is None else f'{limit:g}'}"


@admin_app.command()
@plain_errors
def audit(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most this many.")] = 50,
    action: Annotated[
        str | None, typer.Option(help="Only these: submit_job, revoke_key, …")
    ] = None,
    of_object: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this id.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Not older; local time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, or tried to, newest first."""
    call = calls.audit(
        limit=min(limit, 1000),
        action=action,
        object_id=of_object,
        tenant=tenant,
        since=None if since is None else since.astimezone(),
    )
    with connect() as client:
        found = [entry for entry, _ in zip(client.each(call), range(limit), strict=False)]
    columns = {
        "when": lambda entry: entry.created_at[:19].replace("T", " "),
        "who": lambda entry: entry.caller_name,
        "did": lambda entry: entry.action,
        "to": lambda entry: entry.object_id,
        "outcome": lambda entry: f"{entry.outcome} ({entry.status})",
    }
    show(found, columns, as_json, "nothing was changed")
