"""The embedded one-machine Ray cluster: started as a child, gone when it stops."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import httpx
import psutil

from rlhf_service.errors import LauncherError
from rlhf_service.storage import write_atomically, write_private

START_SECONDS = 90
STOP_SECONDS = 20
GRACE_SECONDS = 3
"""For what still lives when Ray has stopped."""
TEMPORARY = "rlhf-"
"""How the names of the clusters' temporary folders begin."""
OBJECT_STORE_BYTES = 512 * 1024**2
PR_SET_PDEATHSIG = 1

PORTS = (
    "port",
    "dashboard-port",
    "ray-client-server-port",
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)
"""Options of `ray start` that take a port each; left out, clusters of one machine would meet."""


class LocalCluster:
    """A Ray head with its dashboard on loopback, token authentication on.

    Its ports are free ones, so several can live beside each other. Should this process be killed,
    the cluster stops by itself.
    """

    def __init__(self, folder: Path, num_cpus: int | None = None) -> None:
        self._folder = folder
        self._num_cpus = num_cpus or os.cpu_count() or 1
        self._process: subprocess.Popen[bytes] | None = None
        self._temporary: Path | None = None
        self._lock: TextIO | None = None
        self._token = secrets.token_hex(32)
        self._ports: list[int] = []
        self.address = ""
        """`host:port` at which drivers and further machines join."""
        self.dashboard_url = ""
        self.metrics_address = ""
        """`host:port` where the node's figures are exported for Prometheus."""
        self.token_file = folder / "ray-token"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach this cluster."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
        }

    def start(self) -> None:
        """Start it and wait until it takes jobs. Raises LauncherError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        write_private(self.token_file, self._token)
        # Unix sockets lie below it, and their paths have a short limit.
        self._temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY))
        write_atomically(self._folder / "temporary", str(self._temporary))
        again = bool(self._ports)
        ports = self._ports = self._ports or free_ports(len(PORTS))
        self.address = f"127.0.0.1:{ports[0]}"
        self.dashboard_url = f"http://127.0.0.1:{ports[1]}"
        self.metrics_address = f"127.0.0.1:{ports[7]}"
        # Processes that are killed leave temporary files; they go with the folder.
        scratch = {"TMPDIR": str(self._temporary)}
        log = (self._folder / "ray.log").open("ab" if again else "wb")
        self._process = subprocess.Popen(
            head_command(self._num_cpus, self._temporary, ports),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | self.environment | SERVER_ENVIRONMENT | scratch,
            start_new_session=True,  # a terminal's Ctrl-C is for this process, which stops it
            preexec_fn=die_with_parent,
        )
        log.close()
        os.environ.update(self.environment)
        self._wait_until_ready()

    def restart(self) -> None:
        """Start it anew, empty, at the same addresses and with the same token. Raises LauncherError."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop every process it started and remove its files."""
        if self._process is None:
            self._release()
            return
        # Should the first of them be dead, the others are known by their folder.
        family = descendants(self._process.pid) or mentioning(str(self._temporary))
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Drivers take SIGTERM as a wish to checkpoint, but their cluster is gone.
        _, alive = psutil.wait_procs(family, timeout=GRACE_SECONDS)
        kill_and_wait(alive, STOP_SECONDS)
        self._process.wait()
        self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._release()

    @property
    def pid(self) -> int | None:
        """Process that everything of the cluster descends from."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> LocalCluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _claim(self) -> None:
        """Keep others out of the folder, whose token is this cluster's. Raises LauncherError."""
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise LauncherError(
                f"another service runs in {self._folder.parent}; stop it, or choose another --folder"
            ) from None
        # A killed one could not remove its files.
        earlier = self._folder / "temporary"
        if earlier.exists() and (left := Path(earlier.read_text())).name.startswith(TEMPORARY):
            shutil.rmtree(left, ignore_errors=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _wait_until_ready(self) -> None:
        token = self.token_file.read_text(encoding="utf-8")
        deadline = time.monotonic() + START_SECONDS
        last = "no answer"
        headers = {"Authorization": f"Bearer {token}"}
        # One client: each new one loads the certificates of the world.
        with httpx.Client(base_url=self.dashboard_url, headers=headers, timeout=5) as dashboard:
            while self.alive and time.monotonic() < deadline:
                try:
                    last = self._missing(dashboard)
                except (httpx.HTTPError, ValueError) as fault:
                    last = str(fault) or type(fault).__name__
                if not last:
                    return
                time.sleep(0.1)
        raise LauncherError(
            f"the embedded Ray cluster did not come up ({last}); see {self._folder / 'ray.log'}"
        )

    def _missing(self, dashboard: httpx.Client) -> str:
        """What is not ready yet, in words; empty when all is. Raises httpx.HTTPError."""
        for path in ("/api/jobs/", "/api/v0/nodes?detail=1"):
            reply = dashboard.get(path)
            if reply.status_code != 200:
                return f"HTTP {reply.status_code} from {path}"
        # The dashboard answers before the node has joined; a job would find no CPU.
        nodes = ((reply.json().get("data") or {}).get("result") or {}).get("result") or []
        cpus = [(node.get("resources_total") or {}).get("CPU", 0) for node in nodes]
        return "" if sum(cpus) >= self._num_cpus else f"{sum(cpus):g} of {self._num_cpus} CPUs"


SERVER_ENVIRONMENT = {
    # By default Ray's workers yield to everything else on the machine; here they are the work.
    "RAY_worker_niceness": "0",
    "HF_HUB_OFFLINE": "1",
    # Nobody takes this machine away at short notice; the watcher would be one more process a job.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A node that is told to stop would wait for its actors to leave; the cluster ends with them.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # The control plane has already given the job its grace when it stops the driver.
    "RAY_JOB_STOP_WAIT_TIME_S": "5",
}


def head_command(num_cpus: int, temporary: Path, ports: Sequence[int]) -> list[str]:
    """Starts a head on loopback alone; `ports` in the order of PORTS."""
    return [
        *ray_command(),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--include-dashboard=true",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        f"--num-cpus={num_cpus}",
        f"--temp-dir={temporary}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        *(f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True)),
    ]


def ray_command() -> list[str]:
    """The `ray` program of this interpreter's environment."""
    beside = Path(sys.executable).parent / "ray"
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "ray.scripts.scripts"]


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; `ray start --block` then stops everything."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def descendants(pid: int) -> list[psutil.Process]:
    """The process and everything below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def mentioning(text: str) -> list[psutil.Process]:
    """Processes with `text` in their command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(text in word for word in process.cmdline()):
                found.append(process)
    return found


def kill_and_wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    """SIGKILL to each that still lives, and wait at most so long for their ends."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended by itself just now
            process.kill()
    psutil.wait_procs(list(processes), timeout=seconds)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()
