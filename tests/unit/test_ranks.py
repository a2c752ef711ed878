"""How Ray Train joins learner ranks: with one group, and with torch in nobody's process but theirs."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from types import SimpleNamespace

import pytest
import ray

SECONDS = 90


def test_who_only_manages_ranks_does_not_import_torch():
    words = (
        "import pickle, sys, cluster.driver, ray.train.v2.api.data_parallel_trainer; "
        "from cluster.ranks import RanksConfig; from cluster.learners import learner_loop; "
        "config = pickle.loads(pickle.dumps(RanksConfig('gloo', 60))); config.backend_cls(); "
        "config.train_func_context, config.framework, config.to_dict(); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


class Workers:
    """As much of Ray Train's worker group as the backend uses: each call in its rank's process."""

    def __init__(self, calls) -> None:
        self._calls = calls

    def __len__(self) -> int:
        return len(self._calls)

    def execute_single(self, rank, function, *arguments):
        return self.execute_single_async(rank, function, *arguments)()

    def execute_single_async(self, rank, function, *arguments):
        self._calls[rank].send((function, arguments))

        def answer():
            assert self._calls[rank].poll(SECONDS), f"rank {rank} says nothing"
            return self._calls[rank].recv()

        return answer

    def execute_async(self, function, *arguments):
        return [self.execute_single_async(r, function, *arguments) for r in range(len(self))]


def rank_process(rank: int, size: int, calls) -> None:
    import ray.train.torch
    import torch

    context = SimpleNamespace(
        get_local_rank=lambda: rank,
        get_local_world_size=lambda: size,
        get_node_rank=lambda: 0,
    )
    ray.train.get_context = lambda: context
    ray.train.torch.get_device = lambda: torch.device("cpu")
    while True:
        function, arguments = calls.recv()
        calls.send(function(*arguments))


def sum_of_ranks() -> tuple[int, dict[str, str]]:
    import os

    import torch
    import torch.distributed as dist

    total = torch.tensor(dist.get_rank() + 1)
    dist.all_reduce(total)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")
    return int(total), {name: os.environ[name] for name in names}


def is_joined() -> bool:
    import torch.distributed as dist

    return bool(dist.is_initialized())


@pytest.fixture
def workers():
    spawned = multiprocessing.get_context("spawn")
    ours, processes = [], []
    for rank in range(2):
        here, there = spawned.Pipe()
        process = spawned.Process(target=rank_process, args=(rank, 2, there), daemon=True)
        process.start()
        ours.append(here)
        processes.append(process)
    yield Workers(ours)
    for process in processes:
        process.kill()
        process.join(SECONDS)


def test_ranks_meet_reduce_and_leave(workers, monkeypatch):
    from cluster.ranks import Ranks, RanksConfig

    def get(asked, timeout=None):
        return [answer() for answer in asked]

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr("cluster.ranks.meeting_point", loopback)
    config = RanksConfig("gloo", 60)
    Ranks().on_start(workers, config)
    found = get(workers.execute_async(sum_of_ranks))
    assert [total for total, _ in found] == [3, 3]
    assert [about["RANK"] for _, about in found] == ["0", "1"]
    assert all(about["WORLD_SIZE"] == about["LOCAL_WORLD_SIZE"] == "2" for _, about in found)
    Ranks().on_shutdown(workers, config)
    assert get(workers.execute_async(is_joined)) == [False, False]


def loopback() -> tuple[str, int]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])
