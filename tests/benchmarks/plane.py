"""A control plane in a process of its own, over a cluster in memory, for benchmarks to call."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from api.serve import server
from api.service.secret import attempt_token, server_secret
from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher

START_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Plane:
    """A running control plane."""

    url: str
    key: str
    pid: int
    settings: Settings

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def driver_headers(self, job_id: str) -> dict[str, str]:
        """What the first attempt's driver shows."""
        token = attempt_token(server_secret(self.settings), job_id, 1)
        return {"authorization": f"Bearer {token}"}

    def memory(self) -> float:
        """Resident MiB."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def spec(self) -> dict[str, Any]:
        """A small job."""
        rows = self.settings.storage / "data" / "rows.jsonl"
        rows.write_text('{"prompt": "2+2=", "completion": "4"}\n', encoding="utf-8")
        stage = {"type": "sft", "data": {"path": str(rows)}, "steps": 10, "batch_size": 2}
        model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
        return {"name": "benchmark", "model": model, "stages": [stage]}


@contextmanager
def plane(folder: Path, database_url: str = "", **settings: object) -> Iterator[Plane]:
    """Started, ready, and stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {
        "storage": folder / "storage", "port": port, "bootstrap_key": "rlhf_" + "b" * 40,
        "database_url": database_url, "migrate": "true", "log_level": "warning",
        "rate_limit": 0, "sign_in_failures": 0, **settings,
    }  # fmt: skip
    given = {f"RLHF_{name.upper()}": str(value) for name, value in values.items()}
    process = subprocess.Popen([sys.executable, "-m", __name__], env={**os.environ, **given})
    made = Settings.model_validate(values)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "it did not start"
            try:
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield Plane(url, str(values["bootstrap_key"]), process.pid, made)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the worst, in milliseconds."""
    found = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(found[min(len(found) - 1, int(share * len(found)))] * 1000, 1)
        for name, share in at.items()
    }


def say(name: str, **figures: object) -> None:
    print(json.dumps({"benchmark": name, **figures}), flush=True)


if __name__ == "__main__":
    server(Settings(), FakeLauncher(cpus=1e9)).run()
