"""A real server on loopback with a cluster in memory, and a real Chromium to look at it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import World, running

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]


@dataclass(slots=True)
class Site:
    """The service as a browser meets it. It can be stopped, and started again at its address."""

    world: World
    port: int
    _server: uvicorn.Server | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = self.world.app
        config = uvicorn.Config(app, port=self.port, lifespan="off", log_level="error", ws="none")
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._task.done(), "the server ended before it had started"
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._task
            # The process lives on; a process that ended would have closed these.
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._server = None


@dataclass(slots=True)
class Window:
    """One page of the browser, signed in on request; it keeps what went wrong in it."""

    site: Site
    page: Page
    faults: list[str] = field(default_factory=list)

    async def go(self, place: str = "") -> Page:
        """Open `#place`, with the key already in the tab."""
        await self.page.goto(f"{self.site.url}/web/index.html")
        await self.page.evaluate("key => sessionStorage.setItem('key', key)", self.site.world.key)
        await self.page.goto(f"{self.site.url}/#{place}")
        return self.page

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path) -> AsyncIterator[Site]:
    settings = Settings(storage=tmp_path, reconcile=False, sse_poll=0.05)
    (tmp_path / "data").mkdir()
    async with running(settings, FakeLauncher(cpus=64)) as world:
        made = Site(world, free_port())
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One for all tests; each has a context of its own in it, which is a browser that knows nothing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def opened(
    site: Site, chromium: Browser, width: int = 1200, scheme: str = "light", motion: str = "reduce"
) -> AsyncIterator[Window]:
    context = await chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    window = Window(site, page)
    page.on("pageerror", lambda fault: window.faults.append(str(fault)))
    page.on(
        "console", lambda said: window.faults.append(said.text) if said.type == "error" else None
    )
    try:
        yield window
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def window(site: Site, chromium: Browser) -> AsyncIterator[Window]:
    """A wide, light page on which nothing may go wrong."""
    async with opened(site, chromium) as made:
        yield made
        assert made.faults == []
