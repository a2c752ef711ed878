"""The control plane behind a real socket, for clients that are not ours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from api.main import create_app
from api.settings import Settings
from rlhf_service.events import Event, StageStarted
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import Driver, World

CHAT = [{"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"}]


@dataclass(slots=True)
class Served:
    """A running server, its cluster in memory, and how to reach it."""

    settings: Settings
    launcher: FakeLauncher
    root: str
    key: str

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    def openai(self, **options: Any) -> Any:
        """A client of OpenAI's own package, which knows nothing of this service."""
        import openai

        return openai.OpenAI(**{"base_url": self.base_url, "api_key": self.key, **options})

    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.root, headers={"authorization": f"Bearer {self.key}"}, timeout=30
        )

    def submitted(self, job_id: str, attempt: int = 1) -> str:
        """Waits until the attempt is on the cluster; its submission id."""
        submission = f"{job_id}-a{attempt}"
        until(lambda: submission in self.launcher.attempts)
        return submission

    def say(self, job_id: str, *events: Event, producer: str = "a1-driver") -> None:
        """Post as the job's driver."""
        submission = self.submitted(job_id)
        driver = Driver(_Seen(self.launcher), submission, producer)  # type: ignore[arg-type]
        token = self.launcher.attempts[submission].request.events_token
        with httpx.Client(base_url=self.root, timeout=60) as client:
            answer = client.post(
                f"/v1/internal/jobs/{job_id}/events",
                json={"events": [driver.record(event) for event in events]},
                headers={"authorization": f"Bearer {token}"},
            )
        assert answer.status_code == 200, answer.text

    def begin(self, job_id: str, stage: str = "sft") -> None:
        self.say(job_id, StageStarted(stage=stage, kind=stage, steps=10), producer="a1-begin")


@dataclass(slots=True)
class _Seen:
    """As much of a World as a Driver's records need."""

    launcher: FakeLauncher


def until(holds: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for something with a bound."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.02)


@contextmanager
def served(settings: Settings, launcher: FakeLauncher) -> Iterator[Served]:
    """The application on a free port of the loopback, in a thread."""
    app = create_app(settings, launcher)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        key = (settings.control / "first-api-key").read_text().strip()
        yield Served(settings, launcher, f"http://127.0.0.1:{port}", key)
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


def lines(rows: Sequence[Any]) -> bytes:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


__all__ = ["CHAT", "Served", "World", "lines", "served", "until"]
