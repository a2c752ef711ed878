"""The command line put together."""

from __future__ import annotations

import os
import sys

import typer

from rlhf_service.cli.admin import admin_app
from rlhf_service.cli.doctor.command import doctor_app
from rlhf_service.cli.drafts import drafts_app
from rlhf_service.cli.inspect import inspect_app
from rlhf_service.cli.jobs import jobs_app
from rlhf_service.cli.keys import keys_app
from rlhf_service.cli.local import local
from rlhf_service.cli.logs import logs_app
from rlhf_service.cli.models import models_app
from rlhf_service.cli.plan import planning
from rlhf_service.cli.webhooks import webhooks_app

app = typer.Typer(
    name="rlhf",
    help="Submit and watch RLHF training jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part, panel in (
    (jobs_app, "Jobs"),
    (inspect_app, "What a job says and leaves"),
    (logs_app, "What a job says and leaves"),
    (drafts_app, "Before a job"),
    (planning, "Before a job"),
    (models_app, "Models and files"),
    (keys_app, "Service and keys"),
    (admin_app, "Service and keys"),
    (webhooks_app, "Service and keys"),
    (doctor_app, "This machine"),
    (local, "This machine"),
):
    for command in part.registered_commands:
        command.rich_help_panel = panel
    for group in part.registered_groups:
        group.rich_help_panel = panel
    app.add_typer(part)

FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=FORWARDED, rich_help_panel="This machine")
def serve(context: typer.Context) -> None:
    """Run the service on this machine: Ray, the API and its page."""
    embedded("serve", context.args)


@app.command(context_settings=FORWARDED, rich_help_panel="This machine")
def demo(context: typer.Context) -> None:
    """Run the whole recipe once on this machine: SFT, reward model, PPO."""
    embedded("demo", context.args)


@app.command(context_settings=FORWARDED, rich_help_panel="This machine")
def run(context: typer.Context) -> None:
    """Run one of the recipes on this machine, baseline and improvement."""
    embedded("run", context.args)


def embedded(command: str, arguments: list[str]) -> None:
    """Become the embedded service, which lives in another package."""
    os.execv(sys.executable, [sys.executable, "-m", "api.embedded", command, *arguments])


def main() -> None:
    app()
