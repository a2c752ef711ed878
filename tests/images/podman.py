"""Images built and containers run with podman: real ones, on this machine's network."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 1500

BUILD_FLAGS = shlex.split(os.environ.get("IMAGE_BUILD_FLAGS", ""))
"""What a build needs here to reach the package indexes, such as --volume of pip's configuration."""
RUN_FLAGS = shlex.split(os.environ.get("IMAGE_RUN_FLAGS", ""))
"""What a container needs here to start, such as --ulimit."""
PODMAN = ["podman", *shlex.split(os.environ.get("IMAGE_PODMAN_FLAGS", ""))]
"""And podman itself, such as --runtime."""


def podman(*words: str, seconds: float = 60) -> str:
    """What it prints. Raises with what it complains of."""
    done = subprocess.run([*PODMAN, *words], capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(f"podman {' '.join(words[:2])}: {done.stderr[-3000:]}")
    return done.stdout


def build(name: str) -> str:
    """The image of a Dockerfile of docker/."""
    tag = f"localhost/rlhf-service/{name}:test"
    dockerfile = ROOT / "docker" / f"{name}.Dockerfile"
    # OCI's own format has no health checks.
    words = ("build", "--format=docker", *BUILD_FLAGS, "-f", str(dockerfile), "-t", tag, str(ROOT))
    podman(*words, seconds=BUILD_SECONDS)
    return tag


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs."""

    id: str

    def run(self, *command: str, seconds: float = 120) -> str:
        return podman("exec", self.id, *command, seconds=seconds)

    def healthy(self) -> bool:
        """Whether the image's own health check passes."""
        words = [*PODMAN, "healthcheck", "run", self.id]
        return subprocess.run(words, capture_output=True, timeout=60).returncode == 0

    def logs(self) -> str:
        return podman("logs", self.id)

    def stop(self) -> int:
        """Ask it to end, as an orchestrator does; its exit status."""
        podman("stop", "--time", "30", self.id, seconds=60)
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.id))


@contextmanager
def running(
    image: str,
    environment: Mapping[str, str],
    volumes: Mapping[Path, str],
    command: Sequence[str] = (),
) -> Iterator[Container]:
    """A container on the host's network, without privileges; removed in the end."""
    given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    mounted = [word for at, to in volumes.items() for word in ("--volume", f"{at}:{to}")]
    safe = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")
    words = ("run", "--detach", *safe, *RUN_FLAGS, *given, *mounted, image, *command)
    container = Container(podman(*words).strip())
    try:
        yield container
    finally:
        podman("rm", "--force", "--time", "5", container.id)
