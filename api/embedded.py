"""The embedded service: a one-machine Ray cluster and the control plane, as children of one process.

python -m api.embedded serve [--port 8000] [--folder .rlhf]
python -m api.embedded demo  [--seed 0]    [--folder .rlhf]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx

from api.service.keys import create_first_key
from api.settings import Settings
from cluster.local import LocalCluster, die_with_parent, free_ports
from rlhf_service.client import ApiError
from rlhf_service.errors import RlhfError
from rlhf_service.storage import write_private

START_SECONDS = 60
STOP_SECONDS = 15
STEADY_SECONDS = 120
"""A cluster that ends sooner than this after it was started again is given up."""
CONNECTION = "connection.json"
"""In the state folder: where the service is and with which key, for the command line."""


class Embedded:
    """The service on this machine; a context that leaves no process behind."""

    def __init__(self, folder: Path, port: int, data_roots: tuple[Path, ...]) -> None:
        self.folder = folder.resolve()
        self.port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.cluster = LocalCluster(self.folder / "ray")
        self.new_key: str | None = None
        self._data_roots = data_roots
        self._api: subprocess.Popen[bytes] | None = None
        self._revived = -math.inf

    def __enter__(self) -> Embedded:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise RlhfError(
                f"{self.folder} cannot be made ({fault.strerror}); choose another with --folder"
            ) from None
        require_free(self.port)
        try:
            self.cluster.start()
            self._configure()
            self._start_api()
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._api is not None:
            self._api.terminate()
            try:
                self._api.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._api.kill()
                self._api.wait()
        self.cluster.stop()

    @property
    def api_key(self) -> str:
        """The key the command line uses; kept in the state folder, readable by this user only."""
        found = known_connection(self.folder).get("api_key")
        if not found:
            raise RlhfError(f"{self.folder} has lost its API key; choose another with --folder")
        return found

    @property
    def api_pid(self) -> int | None:
        """The control plane's process."""
        return None if self._api is None else self._api.pid

    def tend(self) -> None:
        """Start again what died: the cluster (its jobs then go on from their checkpoints) or the control
        plane. Raises RlhfError when the cluster cannot be kept up.
        """
        if not self.cluster.alive:
            self._revive_cluster()
        if self._api is not None and self._api.poll() is not None:
            self._start_api()

    def _revive_cluster(self) -> None:
        ended = f"the Ray cluster ended; see {self.folder / 'ray' / 'ray.log'}"
        if time.monotonic() - self._revived < STEADY_SECONDS:
            raise RlhfError(f"{ended}; it had just been started again")
        print(f"{ended}; starting it again", file=sys.stderr, flush=True)
        self.cluster.restart()
        self._revived = time.monotonic()

    def _configure(self) -> None:
        os.environ.update(
            RLHF_STORAGE=str(self.folder / "storage"),
            RLHF_RAY_ADDRESS=self.cluster.dashboard_url,
            RLHF_HOST="127.0.0.1",
            RLHF_PORT=str(self.port),
            RLHF_DATA_ROOTS=json.dumps([str(root.resolve()) for root in self._data_roots]),
        )
        os.environ.setdefault("RLHF_SHUTDOWN_GRACE", "2")
        self.new_key = create_first_key(Settings())
        api_key = self.new_key or known_connection(self.folder).get("api_key")
        connection = {"url": self.url, "api_key": api_key}
        write_private(self.folder / CONNECTION, json.dumps(connection))

    def _start_api(self) -> None:
        log = (self.folder / "api.log").open("ab")
        self._api = subprocess.Popen(
            [sys.executable, "-m", "api.serve"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            preexec_fn=die_with_parent,
        )
        log.close()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        # One client: each new one loads the certificates of the world.
        with httpx.Client(timeout=5) as client:
            while time.monotonic() < deadline:
                try:
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                if self._api is not None and self._api.poll() is not None:
                    break
                time.sleep(0.1)
        raise RlhfError(f"the control plane did not come up; see {self.folder / 'api.log'}")


def known_connection(folder: Path) -> dict[str, str]:
    """What an earlier start left; empty when there is nothing that can be read."""
    try:
        found = json.loads((folder / CONNECTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def require_free(port: int) -> None:
    """Raises RlhfError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise RlhfError(
                f"port {port} is taken; stop what listens there, or choose another with --port"
            ) from None


def serve(arguments: argparse.Namespace) -> int:
    """Run until a signal raises KeyboardInterrupt."""
    roots = (Path.cwd(), *arguments.data_root)
    with Embedded(arguments.folder, arguments.port, roots) as service:
        print(f"API and page      {service.url}")
        print(f"Ray dashboard     {service.url}/ray/")
        print(f"state folder      {service.folder}")
        if service.new_key:
            print(f"API key           {service.new_key}   (shown once)")
        print("Ctrl-C stops everything.", flush=True)
        try:
            while True:
                time.sleep(0.5)
                service.tend()
        except KeyboardInterrupt:
            print("stopping", flush=True)
    print("stopped")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the whole recipe once and judge it."""
    from rlhf_service.cli.recipe import run_demo

    with for_recipes(arguments, "demo") as (service, data):
        return run_demo(service.url, service.api_key, data, arguments.seed, arguments.device)


def run(arguments: argparse.Namespace) -> int:
    """Run one of the recipes and say whether the held-out reward rose."""
    from rlhf_service.cli.recipe import run_named

    with for_recipes(arguments, "recipes") as (service, data):
        wanted = (arguments.recipe, arguments.seed, arguments.device)
        return run_named(service.url, service.api_key, data, *wanted)


@contextmanager
def for_recipes(arguments: argparse.Namespace, name: str) -> Iterator[tuple[Embedded, Path]]:
    """A service of its own in state folder `name`, tended, and the folder for recipes' data."""
    with Embedded(arguments.folder / name, arguments.port, ()) as service, tended(service):
        yield service, service.folder / "storage" / "data"


@contextmanager
def tended(service: Embedded) -> Iterator[None]:
    """Tend the service from a thread meanwhile. Raises RlhfError at once when the cluster ends."""
    over, faults = threading.Event(), list[RlhfError]()
    main_thread = threading.get_ident()

    def tend() -> None:
        while not over.wait(0.5):
            try:
                service.tend()
            except RlhfError as fault:
                faults.append(fault)
                # Whatever the main thread waits for will not come.
                signal.pthread_kill(main_thread, signal.SIGTERM)
                return

    thread = threading.Thread(target=tend, name="tending", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if faults:
            raise faults[0] from None
        raise
    finally:
        over.set()
        thread.join()


def main() -> int:
    # Not at the top: this module is the control plane's too, which needs no recipes.
    from rlhf_service.recipes.catalogue import RECIPES
    from rlhf_service.recipes.placed import PLACED

    parser = argparse.ArgumentParser(prog="rlhf", description="The service on this machine.")
    commands = parser.add_subparsers(required=True)
    for name, act, help_text in (
        ("serve", serve, "run the service in the foreground"),
        ("demo", demo, "run the whole recipe once: SFT, reward model, PPO"),
        ("run", run, "run one of the recipes: baseline, policy gradients, held-out comparison"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--folder", type=Path, default=Path(".rlhf"), help="state folder")
        command.add_argument(
            "--port",
            type=int,
            default=8000 if name == "serve" else 0,
            help="port of the API; 0 takes a free one (default %(default)s)",
        )
        command.set_defaults(run=act)
        if name == "serve":
            command.add_argument(
                "--data-root",
                type=Path,
                action="append",
                default=[],
                help="another folder that jobs may read, besides the current one",
            )
        if name == "run":
            command.add_argument("recipe", choices=sorted(RECIPES))
        if name != "serve":
            command.add_argument("--seed", type=int, default=0, help="decides everything random")
            command.add_argument(
                "--device",
                choices=sorted(PLACED),
                default="cpu",
                help="cuda: learner and actors on shares of one GPU (default %(default)s)",
            )
    arguments = parser.parse_args()

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return int(arguments.run(arguments))
    except (RlhfError, ApiError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130


def interrupt(signum: int, frame: FrameType | None) -> None:
    """The first signal ends what the main thread does; stopping is then left to finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
