"""Hosts in network namespaces, on one bridge: each with an address, /tmp and /dev/shm of its own."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
NETWORK = "10.213.77"
PREFIX = "rlhfh"
"""Of every interface and namespace; kernel names have at most 15 characters."""
CLONE_NEWNET = 0x40000000
"""Of unshare(2) and setns(2)."""


class NotPermitted(Exception):
    """This machine lets us make no namespaces."""


def ip(*words: str, quiet: bool = False) -> None:
    if shutil.which("ip") is None:
        raise NotPermitted("the program `ip` is not installed (Debian's iproute2)")
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode and not quiet:
        raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")


def keeping(scratch: Path) -> list[str]:
    """Commands that show this code and its Python in a new /tmp too, should they lie in the old one."""
    found = []
    for path in dict.fromkeys((ROOT, Path(sys.prefix), Path(sys.base_prefix))):
        if path.is_relative_to("/tmp"):
            place = scratch / path.relative_to("/tmp")
            found += [f"mkdir -p {place}", f"mount --bind {path} {place}"]
    return found


def of_a_new_machine() -> dict[str, str]:
    """This process's environment without what services that run here have left in it."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("RLHF_", "RAY_"))
    }


@dataclass(slots=True)
class Host:
    """One of them."""

    name: str
    number: int
    folder: Path
    """Where it keeps its /tmp."""
    shared: Path
    """The folder that all of them see alike; it must not lie below /tmp."""
    shared_memory: int = 2**31
    """Bytes of its /dev/shm at most."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    @property
    def namespace(self) -> str:
        return f"{PREFIX}-{self.number}"

    @property
    def cable(self) -> str:
        return f"{PREFIX}{self.number}"

    def run(self, command: Sequence[str], environment: Mapping[str, str], log: str) -> None:
        """Start a program on it. Mounts are its own: another host's /tmp is not its."""
        scratch = self.folder / f"tmp-{self.number}"
        scratch.mkdir(parents=True, exist_ok=True)
        steps = [*keeping(scratch), f"mount --rbind {scratch} /tmp"]
        prepare = " && ".join(
            [*steps, f"mount -t tmpfs -o size={self.shared_memory} tmpfs /dev/shm"]
        )
        out = (self.folder / f"{self.name}-{log}.log").open("ab")
        self.processes.append(
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.namespace),
                    *("unshare", "--mount", "--propagation", "private"),
                    *("sh", "-c", f'{prepare} && exec "$@"', "sh", *command),
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**of_a_new_machine(), **environment},
                cwd=self.shared,
                start_new_session=True,
            )
        )
        out.close()

    def runs(self) -> bool:
        """Nothing that was started on it has ended."""
        return all(process.poll() is None for process in self.processes)

    def unplug(self) -> None:
        ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        ip("link", "set", self.cable, "up")

    def stop(self) -> None:
        """End everything that runs on it."""
        family = [
            process
            for started in self.processes
            if psutil.pid_exists(started.pid)
            for process in (
                psutil.Process(started.pid),
                *psutil.Process(started.pid).children(recursive=True),
            )
        ]
        # What was detached from its parent still lives in the namespace.
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True
        ).stdout
        for pid in {p.pid for p in family} | {int(word) for word in listed.split()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for started in self.processes:
            started.wait(timeout=20)
        self.processes.clear()


@contextmanager
def network(
    names: Sequence[str], folder: Path, shared: Path, shared_memory: int = 2**31
) -> Iterator[dict[str, Host]]:
    """Hosts by name, all on one bridge, which the test itself can reach. Raises NotPermitted."""
    hosts = {name: Host(name, 2 + n, folder, shared, shared_memory) for n, name in enumerate(names)}
    with own_network(), plugged(hosts.values(), f"{PREFIX}-br"):
        yield hosts


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a network of its own. Raises NotPermitted.

    Where a machine's interfaces come and go, browsers break off what they are asking for
    (ERR_NETWORK_CHANGED), and other tests have some.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            raise NotPermitted(f"unshare: {os.strerror(ctypes.get_errno())}")
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


@contextmanager
def plugged(hosts: Collection[Host], bridge: str) -> Iterator[None]:
    """Each on a cable of its own to the bridge."""
    take_down(hosts, bridge)  # what a run that was killed left behind
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for host in hosts:
            ip("netns", "add", host.namespace)
            ip(
                "link",
                "add",
                host.cable,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                host.namespace,
            )
            ip("link", "set", host.cable, "master", bridge)
            ip("link", "set", host.cable, "up")
            inside = ("-n", host.namespace)
            ip(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip(*inside, "link", "set", "eth0", "up")
            ip(*inside, "link", "set", "lo", "up")
        yield
    finally:
        take_down(hosts, bridge)


def take_down(hosts: Collection[Host], bridge: str) -> None:
    """Nothing of them is left; what does not exist is passed over."""
    for host in hosts:
        host.stop()
    time.sleep(0.1)
    for host in hosts:
        ip("netns", "del", host.namespace, quiet=True)
        ip("link", "del", host.cable, quiet=True)
    ip("link", "del", bridge, quiet=True)
