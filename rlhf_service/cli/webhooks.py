"""Commands on webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_service.cli.connection import connect
from rlhf_service.cli.plain import plain_errors
from rlhf_service.cli.tables import AsJson, print_record, show

webhooks_app = typer.Typer()
webhooks_group = typer.Typer(no_args_is_help=True, help="Where events are posted.")
webhooks_app.add_typer(webhooks_group, name="webhooks")

WebhookId = Annotated[str, typer.Argument(help="Id in `rlhf webhooks list`.", metavar="WEBHOOK")]


@webhooks_group.command("create")
@plain_errors
def create_webhook(
    url: Annotated[str, typer.Argument(help="Where to post.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="job.<status>, job.<event> or *; the ends of jobs when absent."),
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Have events posted to a URL. The secret that signs them is printed this once."""
    with connect() as client:
        found = client.webhooks.create(url, event, description)
    if as_json:
        print_record(found)
    else:
        typer.echo(f"{found.id} {found.secret}")


@webhooks_group.command("list")
@plain_errors
def list_webhooks(as_json: AsJson = False) -> None:
    """List webhooks, oldest first."""
    with connect() as client:
        found = client.webhooks.list()
    columns = {
        "webhook": lambda hook: hook.id,
        "url": lambda hook: hook.url,
        "events": lambda hook: " ".join(hook.events),
        "off since": lambda hook: hook.disabled_at,
    }
    show(found, columns, as_json, "no webhook")


@webhooks_group.command("delete")
@plain_errors
def delete_webhook(webhook: WebhookId) -> None:
    """Send nothing more."""
    with connect() as client:
        typer.echo(f"{client.webhooks.delete(webhook).id} deleted")


@webhooks_group.command("deliveries")
@plain_errors
def list_deliveries(
    webhook: WebhookId,
    state: Annotated[str | None, typer.Option(help="Only in this.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent or is to be, newest first."""
    with connect() as client:
        found = client.webhooks.deliveries(webhook, limit=100, state=state)
    columns = {
        "delivery": lambda sent: sent.id,
        "job": lambda sent: sent.job_id,
        "event": lambda sent: sent.type,
        "state": lambda sent: sent.state,
        "answer": lambda sent: sent.status_code or sent.error,
    }
    show(found, columns, as_json, "nothing was sent yet")


@webhooks_group.command("redeliver")
@plain_errors
def redeliver(
    webhook: WebhookId,
    delivery: Annotated[str, typer.Argument(help="Id in `rlhf webhooks deliveries`.")],
) -> None:
    """Send a message again."""
    with connect() as client:
        typer.echo(client.webhooks.redeliver(webhook, delivery).state)
