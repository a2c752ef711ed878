"""What others wrote (paths, faults, a model's words) is shown as it is, and nothing is a traceback."""

from __future__ import annotations

import io
import os
from pathlib import Path

import httpx
import pytest
from click import unstyle
from pydantic import BaseModel
from rich.console import Console
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.cli.recipe import judge
from rlhf_service.cli.tables import show
from rlhf_service.cli.watch import Watcher
from rlhf_service.client.address import SERVED
from rlhf_service.client.retry import Retry
from rlhf_service.events import (
    EvaluationCompleted,
    JobStopped,
    Log,
    PromptQuarantined,
    Recovered,
    RoleStopped,
    Sample,
    StageCompleted,
    StatusChanged,
)
from rlhf_service.job import JobStatus, StopReason
from tests.stored import stored

runner = CliRunner()

AWKWARD = "cannot read [/tmp/x] [the film] [bold]"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RLHF_API_KEY", "key")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(Retry, "pause", lambda *_: 0.0)


def leave(text: str) -> None:
    SERVED.parent.mkdir()
    SERVED.write_text(text)


def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLHF_URL")
    monkeypatch.delenv("RLHF_API_KEY")


@pytest.mark.parametrize("left", ['{"url": ', "[1]", "3", ""])
def test_a_damaged_connection_file_is_one_line(monkeypatch, left):
    without_environment(monkeypatch)
    leave(left)
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 1 and ran.output.count("\n") == 1
    assert "connection.json is damaged; start `rlhf serve` again" in ran.output


def test_a_connection_file_of_someone_else_is_one_line(monkeypatch):
    without_environment(monkeypatch)
    leave("{}")
    real = Path.read_text

    def refuse(path: Path, *args: object, **options: object) -> str:
        if path == SERVED:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 1 and "cannot be read: Permission denied" in ran.output


@pytest.mark.parametrize("key", ["ké", "a\x07b", "a b\nc"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(monkeypatch, key):
    monkeypatch.setenv("RLHF_API_KEY", key)
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 1 and "copy it again" in ran.output
    assert key not in ran.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "localhost:8000", "http://[bad", "nonsense"])
def test_an_address_where_nobody_answers_is_one_line(monkeypatch, url):
    monkeypatch.setenv("RLHF_URL", url)
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 1 and ran.output.startswith("error: ") and ran.output.count("\n") == 1


@pytest.mark.parametrize(
    "event",
    [
        StatusChanged(status=JobStatus.FAILED, message=AWKWARD),
        StageCompleted(stage="sft", model_path=AWKWARD, seconds=1),
        RoleStopped(role="learner", phase="x", stalled=False, message=AWKWARD),
        RoleStopped(role="learner", phase=AWKWARD, stalled=True, message="x"),
        Recovered(role="learner", message=AWKWARD),
        PromptQuarantined(stage="ppo", step=1, prompt=0, message=AWKWARD),
        Log(level="error", message=AWKWARD),
        JobStopped(reason=StopReason.INTERNAL_ERROR, message=AWKWARD),
    ],
    ids=lambda event: event.type,
)
def test_square_brackets_are_shown_and_break_nothing(event):
    shown = io.StringIO()
    Watcher(Console(file=shown, width=200)).show(stored(event))
    assert AWKWARD in shown.getvalue()


def test_the_demo_shows_a_models_square_brackets():
    def evaluation(mean: float) -> EvaluationCompleted:
        sample = Sample(prompt="it [is]", response="[/b] fine [red]", score=mean)
        return EvaluationCompleted(
            stage="ppo", step=1, mean=mean, standard_error=0.1, n=9, samples=(sample,)
        )

    shown = io.StringIO()
    assert judge(Console(file=shown, width=200), [evaluation(0), evaluation(1)], "/m/[x]/") == 0
    for text in ("it [is]", "[/b] fine [red]", "/m/[x]/"):
        assert text in shown.getvalue()


def test_job_ids_stay_whole_in_a_narrow_terminal(monkeypatch):
    job = {
        "id": "job-0123456789abcdef0123",
        "name": "[/a name]",
        "status": "failed",
        "reason": "internal_error",
        "message": AWKWARD * 3,
        "progress": {"stage": "ppo", "step": 1, "steps": 9, "eta_seconds": None, "metrics": None},
        "created_at": "2026-01-01T00:00:00Z",
        "finished_at": None,
        "result": None,
    }
    monkeypatch.setattr(
        httpx.Client, "request", lambda *_, **__: httpx.Response(200, json={"data": [job]})
    )
    monkeypatch.setitem(os.environ, "COLUMNS", "60")
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 0, ran.output
    assert job["id"] in ran.output


class Row(BaseModel):
    name: str
    status: str
    message: str | None = None


ROWS = [Row(name="a" * 30, status="succeeded"), Row(name="b", status="failed", message="so " * 60)]


def listed(monkeypatch, capsys, *, terminal: bool) -> list[str]:
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    monkeypatch.setenv("COLUMNS", "60")
    columns = {n: lambda row, n=n: getattr(row, n) for n in ("name", "status", "message")}
    show(ROWS, columns, False, cut=["message"])
    return [line.rstrip() for line in unstyle(capsys.readouterr().out).splitlines()]


def test_a_list_in_a_narrow_terminal_has_a_line_for_each_row(monkeypatch, capsys):
    heading, _, one, two = listed(monkeypatch, capsys, terminal=True)
    assert heading.split() == ["name", "status", "message"]
    assert one.split() == ["a" * 30, "succeeded"]
    assert two.startswith("b ") and " failed " in two and two.endswith("…") and len(two) <= 60


def test_a_list_in_a_pipe_is_whole(monkeypatch, capsys):
    *_, two = listed(monkeypatch, capsys, terminal=False)
    assert two.endswith(("so " * 60).strip())
