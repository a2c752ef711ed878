"""Control planes as real processes, which can be killed and stopped. Forked from one process that
has imported everything, so that starting one takes a moment; no torch, no Ray cluster.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import psutil

from api.failpoints import Point, arm
from cluster.local import free_ports
from tests.api.fake_ray import FakeRay

context = multiprocessing.get_context("forkserver")
PRELOADED = ["tests.api.planes", "api.main", "cluster.launcher", "uvicorn", "aiosqlite", "asyncpg"]
context.set_forkserver_preload(PRELOADED)

BOUND = 60.0
"""Seconds anything may take before a test gives up."""
KEY = "rlhf_a-key-for-tests"
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A signal that a control plane gets at a point: kill -9, or a stop."""

    point: Point
    passes: int = 0
    """Times that it passes unharmed."""
    signal: int = signal.SIGKILL


def run_plane(settings: dict[str, Any], ray: str, cut: Cut | None) -> None:
    """A control plane's whole life."""
    import uvicorn

    from api.main import create_app
    from api.settings import Settings
    from cluster.launcher import RayJobLauncher

    os.environ["RAY_AUTH_TOKEN"] = "f" * 64
    left = cut.passes if cut else 0

    def pass_by(point: Point) -> None:
        nonlocal left
        if cut is not None and point is cut.point:
            left -= 1
            if left == -1:
                os.kill(os.getpid(), cut.signal)

    arm(pass_by)
    made = Settings.model_validate(settings)
    app = create_app(made, RayJobLauncher(ray))
    uvicorn.run(app, host="127.0.0.1", port=made.port, log_level="warning")


@dataclass(slots=True)
class Plane:
    """One replica: its process, and the client that a user would have."""

    settings: dict[str, Any]
    ray: str
    process: BaseProcess | None = None
    deaths: int = 0
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.settings = {**self.settings, "port": free_ports(1)[0]}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings['port']}",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=ANSWER_SECONDS,
        )

    def start(self, cut: Cut | None = None) -> None:
        """From now on it runs; `until` starts it again when it was killed."""
        process = context.Process(target=run_plane, args=(self.settings, self.ray, cut))
        process.start()
        self.process = process
        self.until(self._answers)

    def until(self, holds: Callable[[], object]) -> float:
        """Wait, and bring the process back when it dies; returns how long it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < BOUND, "it never held"
            self.tend()
            time.sleep(0.02)
        return time.monotonic() - began

    def tend(self) -> None:
        if self.process is not None and not self.process.is_alive():
            assert self.process.exitcode == -signal.SIGKILL, f"it ended by {self.process.exitcode}"
            self.deaths += 1
            self.process.close()
            self.start()

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """As a client that sends again what was not answered."""
        found: list[httpx.Response] = []

        def answered() -> bool:
            try:
                found.append(self.client.request(method, path, **options))
            except httpx.TransportError:
                return False
            return True

        self.until(answered)
        assert found[0].status_code < 300, found[0].text
        answer: dict[str, Any] = found[0].json()
        return answer

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped it."""
        assert self.process is not None
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def kill(self) -> None:
        """kill -9; it stays away until it is started again."""
        assert self.process is not None
        self.process.kill()
        self.process.join()
        self.process = None

    def signal(self, number: int) -> None:
        assert self.process is not None and self.process.pid is not None
        os.kill(self.process.pid, number)

    def close(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.signal(signal.SIGCONT)
            self.process.kill()
            self.process.join()
        self.client.close()

    def _answers(self) -> bool:
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def planes(ray: FakeRay, folder: Path, count: int = 1, **changes: Any) -> Iterator[list[Plane]]:
    """Replicas over one database, not started yet."""
    settings = {
        "storage": str(folder / "storage"),
        "migrate": True,
        "bootstrap_key": KEY,
        "reconcile_interval": 0.05,
        "leftover_grace": 0.0,
        "launcher_timeout": 2.0,
        **changes,
    }
    made = [Plane(settings, ray.url) for _ in range(count)]
    try:
        yield made
    finally:
        for plane in made:
            plane.close()


def small_spec(folder: Path) -> dict[str, Any]:
    """A job that needs one CPU."""
    path = folder / "storage" / "data" / "rows.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"prompt": "2+2=", "completion": "4"}\n', encoding="utf-8")
    stage = {"type": "sft", "data": {"path": str(path)}, "steps": 10, "batch_size": 2}
    model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
    return {"name": "sums", "model": model, "stages": [stage]}
