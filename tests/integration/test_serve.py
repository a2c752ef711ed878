"""`rlhf serve` as a user runs it: what it prints, and that Ctrl-C leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import psutil

from tests.integration.conftest import wait_until


def test_serve_prints_where_it_is_and_ctrl_c_stops_everything(tmp_path):
    command = [sys.executable, "-m", "api.embedded", "serve", "--port", "0"]
    with (tmp_path / "out").open("wb") as out:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT)
    printed = tmp_path / "out"
    try:
        wait_until(lambda: "Ctrl-C" in printed.read_text(), 120, "the service")
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) > 3
        text = printed.read_text()
        url = re.search(r"API and page\s+(\S+)", text)[1]
        key = re.search(r"API key\s+(rlhf_\S+)", text)[1]
        assert "Ray dashboard" in text
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        signed_in = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{url}/v1/jobs", headers=signed_in).json()["data"] == []
        assert "<html" in httpx.get(url).text
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
    assert server.returncode == 0, printed.read_text()
    alive = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert alive == []


def test_a_taken_port_is_one_line(tmp_path):
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        command = [sys.executable, "-m", "api.embedded", "serve", "--port", port]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.strip() == (
        f"error: port {port} is taken; stop what listens there, or choose another with --port"
    )
