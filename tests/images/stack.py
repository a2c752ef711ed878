"""docker/compose.yaml brought up by podman-compose."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.images.podman import PODMAN, ROOT, RUN_FLAGS, podman

PROJECT = "rlhf-test"


@dataclass(frozen=True, slots=True)
class Stack:
    """Its services under a project name of the test's own."""

    secrets: Mapping[str, str] = field(repr=False)
    """What the file wants from the environment."""

    def compose(self, *words: str, seconds: float = 300) -> None:
        """Raises with what it complains of."""
        command = [
            *(sys.executable, "-m", "podman_compose"),
            *(
                f"--podman-args={shlex.join(PODMAN[1:])}",
                f"--podman-run-args={shlex.join(RUN_FLAGS)}",
            ),
            *("--project-name", PROJECT, "--file", str(ROOT / "docker" / "compose.yaml"), *words),
        ]
        environment = os.environ | self.secrets
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds
        )
        if done.returncode:
            raise RuntimeError(f"compose {words[0]}: {(done.stdout + done.stderr)[-4000:]}")

    def up(self) -> None:
        self.compose("up", "--detach", "--no-build")

    def run(self, service: str, *command: str) -> str:
        """What a command prints in a service's container."""
        return podman("exec", f"{PROJECT}_{service}_1", *command)

    def logs(self) -> str:
        """The last of every service."""
        names = podman("ps", "--all", "--format={{.Names}}", f"--filter=name={PROJECT}_").split()
        return "\n".join(f"{name}:\n{_said(name)}" for name in names)


def _said(name: str) -> str:
    done = subprocess.run(
        [*PODMAN, "logs", "--tail=30", name], capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


@contextmanager
def brought_up(secrets: Mapping[str, str]) -> Iterator[Stack]:
    """Up with empty volumes; taken down with them in the end."""
    stack = Stack(secrets)
    try:
        stack.up()
        yield stack
    finally:
        stack.compose("down", "--volumes")
