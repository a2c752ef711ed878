"""Measures this machine for the planner: `rlhf calibrate`; with `--device cuda` one of its GPUs.

The arithmetic by the very pieces that jobs run, in this process; on a Ray of its own, how fast tensors
go through the object store and, on the CPU, what each role's process weighs before it has a network.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from cluster.weighing import IMPORTS, context_bytes, link_rate, own_ray, store_rate, weigh
from rlhf_service.errors import RlhfError
from rlhf_service.planning.device import (
    FILE,
    GPU_FILE,
    MEASURED,
    DeviceProfile,
    Process,
    write_profile,
)

ON_GPU: tuple[Process, ...] = ("learner", "rollout", "reward", "scorer")
"""Processes that may compute on a GPU."""

FILES = {"cpu": FILE, "cuda": GPU_FILE}


def calibrate(threads: Sequence[int], say: Callable[[str], None]) -> DeviceProfile:
    """A profile of this machine, as long as half a minute to a few minutes of work."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with own_ray():
        say("processes")
        baseline = {process: weigh(names) for process, names in IMPORTS.items()}
        say("object store")
        store = store_rate()
    say("all-reduce between two processes")
    link = link_rate("cpu")
    import torch

    from rlhf_service.planning.calibration.kernels import bandwidth, digest_rate
    from rlhf_service.planning.calibration.measure import measure_arithmetic

    device = torch.device("cpu")
    arithmetic = measure_arithmetic(threads, device, say)
    return DeviceProfile(
        name=f"{platform.node() or 'this machine'} ({platform.machine()})",
        kind="cpu",
        source=MEASURED,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        memory=psutil.virtual_memory().total,
        cores=os.cpu_count() or 1,
        bandwidth=bandwidth(device),
        link=link,
        store=store,
        digest=digest_rate(device),
        baseline=baseline,
        threads=arithmetic,
    )


def calibrate_gpu(say: Callable[[str], None]) -> DeviceProfile:
    """A profile of the first GPU, within a few minutes. Raises RlhfError where there is none."""
    os.environ.pop("DS_ACCELERATOR", None)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    if not torch.cuda.is_available():
        raise RlhfError(no_gpu(torch.__version__, torch.version.cuda))
    with own_ray():
        say("object store")
        store = store_rate()
    say("an empty process on the GPU")
    baseline = dict.fromkeys(ON_GPU, context_bytes())
    count = torch.cuda.device_count()
    link = None
    if count > 1:
        say("all-reduce between two GPUs")
        link = link_rate("cuda")
    from rlhf_service.planning.calibration.kernels import bandwidth, digest_rate
    from rlhf_service.planning.calibration.measure import measure_arithmetic

    device = torch.device("cuda", 0)
    try:
        arithmetic = measure_arithmetic((1,), device, say)
        copied, digested = bandwidth(device), digest_rate(device)
    except torch.OutOfMemoryError:
        raise RlhfError(
            "the GPU has too little free memory to be measured; let other work on it end"
        ) from None
    return DeviceProfile(
        name=torch.cuda.get_device_name(device),
        kind="cuda",
        source=MEASURED,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        memory=torch.cuda.get_device_properties(device).total_memory,
        cores=os.cpu_count() or 1,
        bandwidth=copied,
        link=link,
        per_machine=count,
        store=store,
        digest=digested,
        baseline=baseline,
        threads=arithmetic,
    )


def no_gpu(version: str, cuda: str | None) -> str:
    """Why torch computes on none, and what to do."""
    if cuda is None:
        why = f"torch {version} is built without CUDA; install a build with it"
    else:
        why = f"torch {version} finds no CUDA GPU here; see what nvidia-smi says"
    return f"{why}, or measure the CPU by --device cpu"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rlhf calibrate",
        description="Measure this machine, or its GPU, for the planner; takes up to a few minutes, best "
        "while it is idle.",
    )
    parser.add_argument(
        "--storage",
        type=Path,
        default=storage(),
        help="the service's storage folder (default %(default)s); its control/device-profile.json is "
        "written, or gpu-profile.json",
    )
    parser.add_argument("--out", type=Path, help="write there instead")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="what to measure: this machine's processor (default), or its first GPU",
    )
    parser.add_argument(
        "--threads",
        type=thread_counts,
        help="thread counts of the processor to measure, as 1,2 (default 1: what a learner rank has by "
        "default)",
    )
    args = parser.parse_args(words)
    if args.device == "cuda" and args.threads:
        parser.error("--threads is of the processor; a GPU is measured without it")
    out = args.out or args.storage / "control" / FILES[args.device]
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", flush=True)

    try:
        if args.device == "cuda":
            profile = calibrate_gpu(say)
        else:
            profile = calibrate(args.threads or (1,), say)
        write_profile(profile, out)
    except RlhfError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    say(f"written to {out}")
    return 0


def storage() -> Path:
    """Where a service looks for profiles: RLHF_STORAGE; else what `rlhf serve` or a control plane keeps
    in this folder; else what `rlhf serve` keeps in the nearest above it; else where it will here.
    """
    if told := os.environ.get("RLHF_STORAGE"):
        return Path(told)
    embedded = Path(".rlhf") / "storage"
    above = (folder / embedded for folder in Path.cwd().parents)
    for found in (embedded, Path("rlhf-storage"), *above):
        if found.is_dir() and os.access(found, os.W_OK):
            return found
    return embedded


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
