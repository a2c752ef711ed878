"""The control plane under test: the real application, a real database, a cluster in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import World, running


def pg_program(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        found = next((str(p) for p in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own; it refuses to run as root."""
    initdb, pg_ctl = pg_program("initdb"), pg_program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="rlhf-pg-", dir="/tmp"))
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid() != 0:
        as_other = []
    else:
        os.chown(folder, 65534, 65534)
    environment = {**os.environ, "HOME": str(folder)}

    def run(*words: str) -> None:
        subprocess.run(
            [*as_other, *words], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment
        )

    data = str(folder / "data")
    run(initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run(pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield str(folder)
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'control.db'}"
    socket, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    psql = pg_program("psql")
    assert psql is not None
    command = [psql, "-h", socket, "-U", "postgres", "-qc", f"CREATE DATABASE {name}"]
    subprocess.run(command, check=True)
    return f"postgresql://postgres@/{name}?host={socket}"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Loops are driven by hand: `world.turn()`."""
    return make_settings(tmp_path, database_url)


def make_settings(tmp_path: Path, database_url: str, **changes: object) -> Settings:
    defaults: dict[str, object] = {
        "storage": tmp_path / "storage",
        "database_url": database_url,
        "migrate": True,
        "reconcile": False,
        "leftover_grace": 0.0,
        "sse_poll": 0.05,
        "rate_limit": 0,
        "sign_in_failures": 0,
    }
    return Settings.model_validate({**defaults, **changes})


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher(cpus=2)


@pytest_asyncio.fixture
async def world(settings: Settings, launcher: FakeLauncher) -> AsyncIterator[World]:
    async with running(settings, launcher) as made:
        yield made
