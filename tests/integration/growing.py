"""A Ray cluster whose autoscaler adds nodes for jobs, all of them processes on this machine, and a
control plane on it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from ray.util import get_node_ip_address

from cluster.local import (
    PORTS,
    SERVER_ENVIRONMENT,
    die_with_parent,
    free_ports,
    head_command,
    kill_and_wait,
)
from rlhf_service.storage import write_private
from tests.integration.conftest import answers, wait_until
from tests.integration.test_local_cluster import marked

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The id that this provider knows the head by."""
OBJECT_STORE_BYTES = 128 * 1024**2
START_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class GrowingCluster:
    """Its dashboard, and how to be let in."""

    url: str
    headers: Mapping[str, str]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """What the state API lists."""
        path = f"{self.url}/api/v0/{kind}?detail=1&limit=1000"
        reply = httpx.get(path, headers=self.headers, timeout=30)
        reply.raise_for_status()
        found: list[dict[str, Any]] = reply.json()["data"]["result"]["result"]
        return found

    def workers(self) -> list[str]:
        """Ids of the live nodes that have CPUs."""
        return [
            node["node_id"]
            for node in self.rows("nodes")
            if node["state"] == "ALIVE" and node["resources_total"].get("CPU")
        ]

    def ready(self) -> bool:
        try:
            return any(node["state"] == "ALIVE" for node in self.rows("nodes"))
        except (httpx.HTTPError, KeyError, TypeError):
            return False


def configuration(gcs: str, cpus: int, most: int, idle_seconds: float) -> dict[str, Any]:
    """For the autoscaler: a head that runs nothing, and one kind of worker."""
    worker = {"CPU": cpus, "object_store_memory": OBJECT_STORE_BYTES}
    return {
        "cluster_name": "growing",
        "max_workers": most,
        "idle_timeout_minutes": idle_seconds / 60,
        "upscaling_speed": 1.0,
        # As an external one: the built-in type wants a file that wheels of Ray lack.
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": gcs,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "initialization_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": worker,
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
    }


@contextmanager
def growing_cluster(
    folder: Path, cpus: int, most: int, idle_seconds: float
) -> Iterator[GrowingCluster]:
    """At most `most` workers with `cpus` each; none at first. Autoscaler v2, as on Kubernetes."""
    folder.mkdir()
    token = secrets.token_hex(32)
    write_private(folder / "ray-token", token)
    temporary = tempfile.mkdtemp(prefix="rlhf-")  # paths of sockets are short
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    config = configuration(f"{get_node_ip_address()}:{ports['port']}", cpus, most, idle_seconds)
    (folder / "autoscaling.json").write_text(json.dumps(config))
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        # Ray's own: the fake provider ends what is left of a worker's processes while the head lives.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "30",
        "TMPDIR": temporary,
    }
    command = [
        *head_command(0, Path(temporary), list(ports.values())),
        f"--autoscaling-config={folder / 'autoscaling.json'}",
    ]
    try:
        with started(command, SERVER_ENVIRONMENT | environment, folder, "ray") as head:
            headers = {"authorization": f"Bearer {token}"}
            cluster = GrowingCluster(f"http://127.0.0.1:{ports['dashboard-port']}", headers)
            wait_until(
                lambda: head.poll() is not None or cluster.ready(), START_SECONDS, "the head"
            )
            assert head.poll() is None, (folder / "ray.log").read_text()
            yield cluster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def control_plane(
    cluster: GrowingCluster, folder: Path, key: str, **settings: str
) -> Iterator[str]:
    """URL of a control plane that uses it."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
        "RLHF_STORAGE": str(folder / "storage"),
        "RLHF_DATABASE_URL": "",
        "RLHF_RAY_ADDRESS": cluster.url,
        "RLHF_HOST": "127.0.0.1",
        "RLHF_PORT": str(port),
        "RLHF_BOOTSTRAP_KEY": key,
        **{f"RLHF_{name.upper()}": value for name, value in settings.items()},
    }

    command = [sys.executable, "-m", "api.serve"]
    with started(command, environment, folder, "api") as process:
        wait_until(
            lambda: process.poll() is not None or answers(f"{url}/readyz"), START_SECONDS, "the API"
        )
        assert process.poll() is None, (folder / "api.log").read_text()
        yield url


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, name: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its log, which ends with the test, as all that carries the folder's mark."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "RLHF_TEST": str(folder)},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_all(folder: Path) -> None:
    """Whatever still lives of it; nodes are no children of the head."""
    kill_and_wait(marked(folder), STOP_SECONDS)
