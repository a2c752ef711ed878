"""Two processes that take turns, so that a noisy machine slows both alike. Plain Python.

A side prints `{"ready": …}`, then for each line it reads takes one step and prints its figures. At
the end of its input it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

Figures = dict[str, Any]


class Turns:
    """The side that takes steps. What libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(self, **figures: object) -> None:
        self._out.write(json.dumps(figures) + "\n")
        self._out.flush()

    def wait(self) -> bool:
        """Whether a further step is wanted."""
        return bool(sys.stdin.readline())


def peak_bytes() -> int:
    """Most memory that this process has had: on its GPU if it uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_reserved())
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no VmHWM")


class Side:
    """The other end."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self.name = process, name
        self.ready = self._read()

    def step(self) -> Figures:
        stdin: IO[str] = self._process.stdin  # type: ignore[assignment]
        stdin.write("step\n")
        stdin.flush()
        return self._read()

    def _read(self) -> Figures:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.name} ended by itself; its log says why")
        found: Figures = json.loads(line)
        return found


@contextmanager
def side(
    name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[Side]:
    """A side's process, ended with the block."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            yield Side(process, name)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def every(steps: int, sides: Sequence[Side], tell: Callable[[str, Figures], None]) -> None:
    """`steps` steps of each side, one after the other."""
    for _ in range(steps):
        for one in sides:
            tell(one.name, one.step())
