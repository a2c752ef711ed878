"""The control plane under test: the real application, a real database, a cluster in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.settings import Settings
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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
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
