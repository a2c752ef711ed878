"""Weights from a learner to actors: python -m tests.benchmarks.publishing [--mib 512] [--rounds 5]

Both channels in turn, on one host and from one host to another (network namespaces on this machine, so
that nothing but the link's protocol lies between them), beside a plain TCP connection between the two:
what the link allows. Prints one JSON line: medians of seconds from `publish` to the weights in every
actor's network, of seconds that the learner is kept, and of the link's share that is reached.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.conftest import wait_until
from tests.integration.hosts import ROOT, Host, network

TOKEN = "b" * 64
RAY = str(Path(sys.executable).with_name("ray"))
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}
SECONDS = 900


def start(host: Host, where: str, store_bytes: int) -> None:
    host.run(
        [
            *(RAY, "start", "--block", "--num-cpus=2", "--disable-usage-stats"),
            *(f"--node-ip-address={host.address}", *where.split()),
            f"--object-store-memory={store_bytes}",
        ],
        ENVIRONMENT,
        "ray",
    )


@contextmanager
def two_hosts(folder: Path, store_bytes: int) -> Iterator[tuple[Host, Host]]:
    with network(("one", "two"), folder, folder, shared_memory=2 * store_bytes) as hosts:
        one, two = hosts["one"], hosts["two"]
        start(one, "--head --port=6379 --include-dashboard=false", store_bytes)
        start(two, f"--address={one.address}:6379", store_bytes)
        yield one, two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="of weights")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rlhf-publishing-", dir="/var/tmp"))
    try:
        with two_hosts(folder, 8 * chosen.mib << 20) as (one, two):
            out = folder / "found.json"
            words = [str(chosen.mib), str(chosen.rounds), one.address, two.address, str(out)]
            command = [sys.executable, "-m", "tests.benchmarks.publishing_worker", *words]
            time.sleep(5)  # its head; the worker waits for the other host itself
            one.run(command, ENVIRONMENT, "worker")
            try:
                wait_until(out.exists, SECONDS, "the figures", every=0.5)
            except BaseException:
                print((folder / "one-worker.log").read_text()[-3000:], file=sys.stderr)
                raise
            print(json.dumps({"mib": chosen.mib, **json.loads(out.read_text())}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
