"""A Prometheus of the test's own, on loopback."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.local import free_ports


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str
    started: float

    def alive(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, path: str, **query: str | float) -> Any:
        reply = httpx.get(f"{self.url}/api/v1/{path}", params=query, timeout=30)
        answer = reply.json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        return answer["data"]

    def samples(self, query: str) -> int:
        """How many the query has had since Prometheus started, over all its series."""
        seconds = time.time() - self.started
        step = max(1.0, seconds / 5000)
        found = self.ask("query_range", query=query, start=self.started, end=time.time(), step=step)
        return sum(len(series["values"]) for series in found["result"])


@contextmanager
def prometheus(folder: Path, scrapes: list[dict[str, Any]], rules: Path) -> Iterator[Prometheus]:
    """Scrapes every second and evaluates the rules."""
    program = shutil.which("prometheus")
    assert program is not None, "needs Debian's prometheus"
    [port] = free_ports(1)
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "rule_files": [str(rules)],
        "scrape_configs": scrapes,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}", time.time())
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
