"""Measures this machine for the planner: `rlhf calibrate`.

Its arithmetic by the very pieces that jobs run, in this process; on a Ray of its own, what each role's
process weighs before it has a network, and how fast tensors go through the object store.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from rlhf_service.errors import RlhfError
from rlhf_service.planning.device import FILE, DeviceProfile, Role, write_profile
from rlhf_service.storage import write_private

IMPORTS: dict[Role, tuple[str, ...]] = {
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
    "weights": ("cluster.weights.store",),
}
"""What a process of each role has loaded when it begins its work."""

LINK_BYTES = 2**24


def calibrate(threads: Sequence[int], say: Callable[[str], None]) -> DeviceProfile:
    """A profile of this machine, as long as half a minute to a few minutes of work."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with own_ray():
        say("processes")
        baseline = {role: weigh(IMPORTS[role]) for role in IMPORTS}
        say("object store")
        store = store_rate()
    say("all-reduce between two processes")
    link = link_rate()
    from rlhf_service.planning.calibration.kernels import bandwidth, digest_rate
    from rlhf_service.planning.calibration.measure import measure_arithmetic

    arithmetic = measure_arithmetic(threads, say)
    return DeviceProfile(
        name=f"{platform.node() or 'this machine'} ({platform.machine()})",
        kind="cpu",
        source="measured",
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        memory=psutil.virtual_memory().total,
        cores=os.cpu_count() or 1,
        bandwidth=bandwidth(),
        link=link,
        store=store,
        digest=digest_rate(),
        baseline=baseline,
        threads=arithmetic,
    )


@contextmanager
def own_ray() -> Iterator[None]:
    """A Ray of one CPU that nobody else can reach."""
    import ray

    with tempfile.TemporaryDirectory(prefix="rlhf-", ignore_cleanup_errors=True) as folder:
        token = Path(folder) / "token"
        write_private(token, secrets.token_hex(32))
        before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=folder,
            object_store_memory=256 * 2**20,
        )
        try:
            yield
        finally:
            ray.shutdown()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


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


def link_rate() -> float:
    """Bytes a second of a gloo all-reduce between two processes of this machine."""
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds"
        multiprocessing.spawn(_reduce, args=(folder, str(out)), nprocs=2)
        return LINK_BYTES / float(out.read_text())


def _reduce(rank: int, folder: str, out: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    meeting = f"file://{Path(folder) / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    tensor, best = torch.zeros(LINK_BYTES // 4), float("inf")
    for _ in range(6):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(tensor)
        best = min(best, time.perf_counter() - started)
    if rank == 0:
        Path(out).write_text(str(best))
    dist.barrier()
    dist.destroy_process_group()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rlhf calibrate",
        description="Measure this machine for the planner; takes a few minutes, best while it is idle.",
    )
    parser.add_argument(
        "--storage",
        type=Path,
        default=Path(os.environ.get("RLHF_STORAGE", "rlhf-storage")),
        help="the service's storage folder; its control/device-profile.json is written",
    )
    parser.add_argument("--out", type=Path, help="write there instead")
    parser.add_argument(
        "--threads",
        type=thread_counts,
        default=thread_counts("1"),
        help="thread counts to measure, as 1,2 (default 1: what a learner rank has by default)",
    )
    args = parser.parse_args(words)
    out = args.out or args.storage / "control" / FILE
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", flush=True)

    try:
        profile = calibrate(args.threads, say)
        write_profile(profile, out)
    except RlhfError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    say(f"written to {out}")
    return 0


def thread_counts(text: str) -> tuple[int, ...]:
    """`1,2` → (1, 2)."""
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,2") from None
    if found[0] < 1 or found[-1] > 1024:
        raise argparse.ArgumentTypeError("threads are between 1 and 1024")
    return found


if __name__ == "__main__":
    sys.exit(main())
