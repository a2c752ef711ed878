"""The control plane under test: the real application, a real database, a cluster in memory."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.postgres import installed, new_database, postgres_server
from tests.api.world import World, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own."""
    if not installed():
        pytest.skip("PostgreSQL is not installed")
    with postgres_server() as socket:
        yield socket


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the newest schema, to copy: running every migration takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "control.db"
    asyncio.run(bring_up(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """Name of a database with the newest schema, to copy."""
    asyncio.run(bring_up(new_database(postgres, "migrated")))
    return "migrated"


async def bring_up(url: str) -> None:
    database = Database(Settings(database_url=url).database)
    await migrate(database)
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with the newest schema and no rows."""
    if request.param == "sqlite":
        path = tmp_path / "control.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite+aiosqlite:///{path}"
    template = request.getfixturevalue("migrated_postgres")
    return new_database(request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}", template)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without any table."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'control.db'}"
    return new_database(request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Loops are driven by hand: `world.turn()`."""
    return make_settings(tmp_path, database_url)


def make_settings(tmp_path: Path, database_url: str, **changes: object) -> Settings:
    defaults: dict[str, object] = {
        "storage": tmp_path / "storage",
        "database_url": database_url,
        "database_idle": 120.0,  # a test machine may stand still for seconds
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
