"""What processes say of the memory they have held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray

import cluster.host
from cluster.actors import peak_of
from cluster.host import PoolHost
from cluster.peaks import measured
from rlhf_service.events import MemoryMeasured
from tests.planning import ppo


def test_a_process_has_held_at_least_what_it_holds():
    held = psutil.Process().memory_info().rss
    found = measured("learner", 3)
    assert found.role == "learner" and found.process == 3 and found.gpu_peak is None
    # The kernel counts both in batches of pages.
    assert 0.95 * held < found.peak < psutil.virtual_memory().total


class Actor:
    """An actor handle whose `apply` runs here, or fails when asked for its answer."""

    def __init__(self, alive: bool) -> None:
        self.apply = self
        self._alive = alive

    def remote(self, func, *args):
        return lambda: func(self, *args) if self._alive else dead()


def dead() -> None:
    raise ray.exceptions.RayActorError()


def test_the_pools_actors_are_asked_and_the_dead_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(cluster.host.ray, "wait", lambda asked, **_: (asked, []))
    monkeypatch.setattr(cluster.host.ray, "get", lambda answer: answer())
    host = PoolHost(ppo(), "job-1", tmp_path)
    assert host.peaks() == []  # a job without pools
    host._pool_actors = {"rollout": [Actor(True), Actor(False)], "reward": [Actor(True)]}
    found = host.peaks()
    assert [(event.role, event.process) for event in found] == [("rollout", 0), ("reward", 0)]
    assert all(isinstance(event, MemoryMeasured) and event.peak > 0 for event in found)
    assert peak_of(None, "reward", 1).process == 1


def test_what_lies_in_rays_object_store_is_not_the_processs_own(tmp_path: Path):
    code = f"""
import mmap, re
from pathlib import Path
from cluster.peaks import measured
def highest():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before, own = highest(), measured("rollout").peak
with open({str(tmp_path / "plasmaXy1")!r}, "w+b") as store:
    store.truncate(256 * 2**20)
    looked_at = mmap.mmap(store.fileno(), 0)
Path(store.name).unlink()
for _ in range(256):
    looked_at.write(b"x" * 2**20)
print(highest() - before, measured("rollout").peak - own)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    grown, told = map(int, done.stdout.split())
    assert grown >= 250 * 2**20 and told < 32 * 2**20
