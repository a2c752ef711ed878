"""The embedded cluster beside another one: ready means ready, stopped means gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.local import STOP_SECONDS, LocalCluster, kill_and_wait
from rlhf_service.errors import LauncherError
from tests.integration.conftest import wait_until

OWNER = """
import sys, time
from pathlib import Path
from cluster.launcher import RayJobLauncher
from cluster.local import LocalCluster
with LocalCluster(Path(sys.argv[1]), num_cpus=3) as cluster:
    capacity = RayJobLauncher(cluster.dashboard_url).capacity()
    told = cluster.dashboard_url, f"{capacity.cpus:g}", f"{capacity.gpus:g}", cluster.address
    print(*told, flush=True)
    sys.stdin.readline()
print("stopped", flush=True)
"""


HOLD = """
import sys
import ray

@ray.remote(num_cpus=1)
class Held:
    def ping(self): return 1

ray.init(address=sys.argv[1], namespace="held", log_to_driver=False)
ray.get(Held.options(name="held", lifetime="detached").remote().ping.remote())
"""


def marked(folder: Path) -> list[psutil.Process]:
    """Every live process, wherever it hangs in the tree, that was started for `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("RLHF_TEST") == str(folder)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    """A process that owns a cluster; killed processes are found again by their environment."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RLHF_TEST": str(folder)},
    )


def end(owner: subprocess.Popen[str], folder: Path) -> None:
    kill_and_wait(marked(folder), 30)
    owner.wait(timeout=30)
    for pipe in (owner.stdin, owner.stdout):
        assert pipe is not None
        pipe.close()


def said(owner: subprocess.Popen[str]) -> list[str]:
    assert owner.stdout is not None
    return owner.stdout.readline().split()


def test_who_ended_meanwhile_is_no_fault_and_the_rest_is_killed():
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words) as gone, subprocess.Popen(words) as left:
        family = [psutil.Process(one.pid) for one in (gone, left)]
        gone.kill()
        gone.wait()
        kill_and_wait(family, 30)
        assert not any(process.is_running() for process in family)


def test_a_cluster_is_ready_with_its_cpus_shuts_others_out_and_leaves_nothing(service, tmp_path):
    folder = tmp_path / "ray"
    owner = start(folder)
    try:
        url, cpus, gpus, address = said(owner)
        assert (cpus, gpus) == ("3", "0")
        assert url.startswith("http://127.0.0.1:") and url != service.cluster.dashboard_url
        assert (folder / "ray-token").stat().st_mode & 0o777 == 0o600
        with pytest.raises(LauncherError, match=f"another service runs in {tmp_path}"):
            LocalCluster(folder).start()
        temporary = Path((folder / "temporary").read_text())
        assert temporary.exists()
        assert len(marked(folder)) > 3
        token = {"RAY_AUTH_TOKEN_PATH": str(folder / "ray-token")}
        subprocess.run([sys.executable, "-c", HOLD, address], env=os.environ | token, check=True)
        asked_at = time.monotonic()
        owner.communicate("stop\n", timeout=90)
        assert owner.returncode == 0
        # Ray did not wait for the actor, whose cluster ends with it.
        assert time.monotonic() - asked_at < STOP_SECONDS
        assert marked(folder) == []
        assert not temporary.exists()
        assert service.cluster.alive
    finally:
        end(owner, folder)


def test_a_cluster_whose_owner_is_killed_ends_and_its_folder_can_be_used_again(tmp_path):
    folder = tmp_path / "ray"
    first = start(folder)
    second = None
    try:
        said(first)
        temporary = Path((folder / "temporary").read_text())
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not marked(folder), 60, "the end of the killed owner's cluster")
        second = start(folder)
        assert said(second)[1] == "3"
        assert not temporary.exists()
        second.communicate("stop\n", timeout=90)
    finally:
        end(first, folder)
        if second is not None:
            end(second, folder)


def test_a_cluster_that_cannot_start_says_so_and_leaves_the_folder_free(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.local.ray_command", lambda: ["false"])
    for variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))  # put back afterwards
    for _ in range(2):
        with pytest.raises(LauncherError, match=r"did not come up .*ray\.log"):
            LocalCluster(tmp_path / "ray").__enter__()
    assert not Path((tmp_path / "ray" / "temporary").read_text()).exists()
