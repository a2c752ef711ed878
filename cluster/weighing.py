"""Processes of this machine for the planner: what they weigh before any network, and how fast they pass
tensors on."""

from __future__ import annotations

import importlib
import logging
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from rlhf_service.errors import RlhfError
from rlhf_service.planning.device import Process
from rlhf_service.storage import write_private
from rlhf_service.variables import variables

IMPORTS: dict[Process, tuple[str, ...]] = {
    "driver": ("cluster.driver", "cluster.actors", "ray.train.torch"),
    "learner": (
        "ray.train.torch",
        "cluster.pools",
        "ray.rllib.utils.actor_manager",
        "rlhf_service.learner.deepspeed",
        "rlhf_service.stages.pipeline",
        "peft",
    ),
    "rollout": (
        "cluster.actors",
        "rlhf_service.rollout.build",
        "transformers.models.auto.modeling_auto",
    ),
    "reward": (
        "cluster.actors",
        "rlhf_service.reward.build",
        "transformers.models.auto.modeling_auto",
    ),
    "scorer": (
        "cluster.actors",
        "rlhf_service.reward.build",
        "rlhf_service.reward.reward_model",
        "transformers.models.auto.modeling_auto",
    ),
    "weights": ("cluster.weights.store",),
}
"""What each process has loaded when it begins its work."""

LINK_BYTES = {"cpu": 2**24, "cuda": 2**28}


@contextmanager
def own_ray() -> Iterator[None]:
    """A Ray of one CPU that nobody else can reach. Raises RlhfError when it does not start."""
    with tempfile.TemporaryDirectory(prefix="rlhf-", ignore_cleanup_errors=True) as folder:
        token = Path(folder) / "token"
        write_private(token, secrets.token_hex(32))
        with variables(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)):
            import ray  # it reads how to authenticate once, when it is imported

            try:
                ray.init(
                    address="local",
                    num_cpus=1,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    _temp_dir=folder,
                    object_store_memory=256 * 2**20,
                )
            except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as fault:
                why = str(fault).strip().partition("\n")[0]
                raise RlhfError(f"a Ray to measure processes with does not start: {why}") from fault
            try:
                yield
            finally:
                ray.shutdown()


def weigh(names: Sequence[str]) -> int:
    """Bytes of a fresh worker process with those modules in it."""
    import ray

    def load(names: Sequence[str]) -> int:
        for name in names:
            importlib.import_module(name)
        return int(psutil.Process().memory_info().rss)

    # One call a process, so that none finds the modules of another.
    task = ray.remote(num_cpus=1, max_calls=1)(load)
    return int(ray.get(task.remote(names), timeout=300))


def context_bytes() -> int:
    """Bytes of the GPU's memory that a process takes before it has a network: a CUDA context, and cuBLAS
    with its workspace. Of a process of its own, as this one cannot ask before it has a context, too.
    """
    import torch
    import torch.multiprocessing as multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_occupy, args=(theirs,), daemon=True)
    before, _ = torch.cuda.mem_get_info(0)
    process.start()
    theirs.close()
    try:
        fault = ours.recv() if ours.poll(120) else "it did not answer in 120 s"
        after, _ = torch.cuda.mem_get_info(0)
    except EOFError:
        fault = "it ended"
    finally:
        ours.close()
        process.join(30)
    if fault:
        raise RlhfError(
            f"a second process cannot compute on the GPU: {fault}; let other work on it end, and see "
            "that its compute mode is not exclusive"
        )
    if after >= before:
        raise RlhfError("GPU memory became free meanwhile; measure while the GPU is idle")
    return int(before - after)


def _occupy(connection: Connection) -> None:
    """Multiply on the GPU, say what went wrong, if anything, and stay until the other end is closed."""
    import torch

    try:
        for dtype in (torch.float32, torch.bfloat16):
            one = torch.ones(256, 256, dtype=dtype, device="cuda:0")
            torch.mm(one, one)
        torch.cuda.synchronize()
    except (RuntimeError, AssertionError) as fault:
        connection.send(str(fault).partition("\n")[0])
        return
    connection.send("")
    with suppress(EOFError, OSError):
        connection.recv()


def store_rate() -> float:
    """Bytes a second into the object store and out of it again, as a published version goes."""
    import ray

    array = np.zeros(2**24, dtype=np.uint8)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        np.array(ray.get(ray.put(array), timeout=60))
        best = min(best, time.perf_counter() - started)
    return array.nbytes / best


def link_rate(kind: str) -> float:
    """Bytes a second of an all-reduce between two processes, or two GPUs, of this machine."""
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds"
        multiprocessing.spawn(_reduce, args=(folder, str(out), kind), nprocs=2)
        return LINK_BYTES[kind] / float(out.read_text())


def _reduce(rank: int, folder: str, out: str, kind: str) -> None:
    import torch
    import torch.distributed as dist

    from rlhf_service.planning.calibration.clock import wall
    from rlhf_service.planning.calibration.ranks import device_of, joined

    torch.set_num_threads(1)
    device = device_of(kind, rank)
    with joined(device, Path(folder), rank, 2):
        tensor, best = torch.zeros(LINK_BYTES[kind] // 4, device=device), float("inf")
        for _ in range(6):
            dist.barrier()
            started = wall(device)
            dist.all_reduce(tensor)
            best = min(best, wall(device) - started)
        if rank == 0:
            Path(out).write_text(str(best))
        dist.barrier()
