"""The server takes leave: streams are told, requests finish, leases are given back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from api.serve import Server, server
from api.settings import Settings
from rlhf_service.launching import LaunchState
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import Served, until


class Hanging(FakeLauncher):
    """A cluster that answers a look only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def state(self, submission_id: str) -> LaunchState:
        self.asked.set()
        self.go_on.wait(30)
        return super().state(submission_id)


@contextmanager
def serving(
    settings: Settings, launcher: FakeLauncher
) -> Iterator[tuple[Server, Served, Callable[[], None]]]:
    made = server(settings, launcher)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()

    def stopped() -> None:
        made.should_exit = True
        thread.join(30)
        assert not thread.is_alive()

    try:
        until(lambda: made.started or not thread.is_alive())
        port = made.servers[0].sockets[0].getsockname()[1]
        key = (settings.control / "first-api-key").read_text().strip()
        yield made, Served(settings, launcher, f"http://127.0.0.1:{port}", key), stopped
    finally:
        stopped()


def a_job(api: Served, folder: Path) -> str:
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "2+2=", "completion": "4"}\n')
    stage = {"type": "sft", "data": {"path": str(rows)}, "steps": 1, "batch_size": 1}
    model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
    with api.http() as client:
        answer = client.post("/v1/jobs", json={"name": "a", "model": model, "stages": [stage]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_streams_requests_and_leases_when_the_server_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Hanging()
    settings = make_settings(
        tmp_path, "", port=0, reconcile=True, reconcile_interval=0.02, data_roots=str(tmp_path),
        launcher_timeout=30, shutdown_grace=20,
    )  # fmt: skip
    with serving(settings, launcher) as (made, api, stopped):
        job_id = a_job(api, tmp_path)
        assert launcher.asked.wait(30)  # a look is under way and holds the job's lease
        leases = create_engine(f"sqlite:///{settings.control / 'control.db'}")
        held = text("SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL")
        with leases.connect() as connection:
            assert connection.scalar(held) == 1

        entered, answers, told = threading.Event(), list[int](), list[str]()
        services = made._services
        page = services.jobs.page

        async def slow(*args: object, **options: object) -> object:
            import asyncio

            entered.set()
            while not made.should_exit:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            return await page(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(services.jobs, "page", slow)

        def ask() -> None:
            with api.http() as client:
                answers.append(client.get("/v1/jobs").status_code)

        def listen() -> None:
            with api.http() as client, client.stream("GET", f"/v1/jobs/{job_id}/stream") as stream:
                told.extend(line for line in stream.iter_lines() if line.startswith("event:"))

        threads = [threading.Thread(target=work, daemon=True) for work in (ask, listen)]
        for thread in threads:
            thread.start()
        assert entered.wait(30)
        until(lambda: services.streams.open == 1)
        stopped()
        launcher.go_on.set()
        for thread in threads:
            thread.join(30)
        assert answers == [200]
        assert told[-1] == "event: reconnect"
        with leases.connect() as connection:
            assert connection.scalar(held) == 0
        leases.dispose()
        with pytest.raises(httpx.ConnectError):
            ask()
