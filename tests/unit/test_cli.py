"""The command line: one-line errors, exit codes, and what it shows of a job."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.cli.recipe import judge
from rlhf_service.cli.watch import Watcher, exit_code
from rlhf_service.client import ApiError, Client
from rlhf_service.events import EvaluationCompleted, Sample, StatusChanged
from rlhf_service.job import JobStatus
from tests.stored import stored

runner = CliRunner()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RLHF_URL", raising=False)
    monkeypatch.delenv("RLHF_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_without_a_service_it_says_what_to_do():
    ran = runner.invoke(app, ["jobs"])
    assert ran.exit_code == 2
    assert "set RLHF_URL and RLHF_API_KEY, sign in with `rlhf login URL`" in ran.output


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), ("a: [", "neither YAML nor JSON"), ("- 1", "must hold a mapping")],
)
def test_a_bad_spec_file_is_one_line(tmp_path, monkeypatch, content, says):
    monkeypatch.setenv("RLHF_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RLHF_API_KEY", "x")
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_text(content)
    ran = runner.invoke(app, ["submit", str(path)])
    assert ran.exit_code == 1
    assert says in ran.output and "Traceback" not in ran.output


class Flaky(BaseHTTPRequestHandler):
    """Answers 503 twice, then a job; remembers the idempotency keys."""

    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.headers["idempotency-key"])
        self.send_response(503 if len(self.seen) < 3 else 400)
        self.end_headers()
        self.wfile.write(b'{"detail": "no such file", "error": {"param": "stages[0].data.path"}}')

    def log_message(self, *_: object) -> None:
        return None


def test_a_resent_submission_keeps_its_key_and_a_refusal_names_its_field():
    server = HTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", "key") as client:
            with pytest.raises(ApiError, match="no such file") as refused:
                client.jobs.create({})
    finally:
        server.shutdown()
        server.server_close()
    assert refused.value.field == "stages[0].data.path" and refused.value.status == 400
    assert len(Flaky.seen) == 3 and len(set(Flaky.seen)) == 1


def evaluation(step: int, mean: float) -> EvaluationCompleted:
    samples = (Sample(prompt="It was", response=f"after {step}", score=mean),)
    return EvaluationCompleted(
        stage="ppo", step=step, mean=mean, standard_error=0.1, n=64, samples=samples
    )


@pytest.mark.parametrize(("after", "code"), [(1.0, 0), (0.5, 0), (0.4, 1), (-1.0, 1)])
def test_the_demo_judges_by_three_standard_errors(after, code):
    """Two errors of 0.1 make one of 0.141: a rise of 0.424 is the bar."""
    shown = io.StringIO()
    verdict = judge(Console(file=shown, width=100), [evaluation(0, 0.0), evaluation(9, after)], "m")
    assert verdict == code
    assert "after 0" in shown.getvalue() and "after 9" in shown.getvalue()


def test_watch_ends_with_the_jobs_verdict():
    shown = io.StringIO()
    watcher = Watcher(Console(file=shown, width=120))
    status = watcher.run(
        [
            stored(StatusChanged(status=JobStatus.RUNNING), 1),
            stored(evaluation(0, 0.25), 2),
            stored(StatusChanged(status=JobStatus.FAILED, message="disk full"), 3),
        ]
    )
    assert "held-out reward after step 0: +0.250" in shown.getvalue()
    assert "disk full" in shown.getvalue()
    assert exit_code(status) == 1
    assert exit_code(StatusChanged(status=JobStatus.SUCCEEDED)) == 0
