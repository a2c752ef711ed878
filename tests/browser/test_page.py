"""The page in a real Chromium, against a real server fed with events as a job's driver posts them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Page, async_playwright, expect

from api.settings import Settings
from rlhf_service.events import (
    AlarmCleared,
    AlarmRaised,
    Difference,
    EvaluationCompared,
    Sample,
    SamplesDrawn,
)
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.world import Driver, World, running, step

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

ALARM = AlarmRaised(
    stage="sft", step=2, alarm="truncated", value=0.9, threshold=0.7, advice="raise the limit"
)
COMPARED = EvaluationCompared(
    stage="sft",
    step=3,
    differences=(
        Difference(
            name="reward",
            before=0.1,
            after=0.3,
            difference=0.2,
            low=0.1,
            high=0.3,
            p_value=0.01,
            n=9,
        ),
    ),
)
SAMPLED = SamplesDrawn(
    stage="sft",
    step=3,
    samples=(
        Sample(prompt="<b>who</b>?", response="me\nagain", score=0.5, components={"chrf": 0.25}),
    ),
)


@pytest_asyncio.fixture
async def world(tmp_path) -> AsyncIterator[tuple[World, str]]:
    settings = Settings(storage=tmp_path, reconcile=False, sse_poll=0.05)
    (tmp_path / "data").mkdir()
    async with running(settings, FakeLauncher()) as made:
        config = uvicorn.Config(made.app, port=0, lifespan="off", log_level="error", ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield made, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = server.force_exit = True
            await task


@contextlib.asynccontextmanager
async def browser(width: int = 1200, scheme: str = "light") -> AsyncIterator[Page]:
    async with async_playwright() as player:
        chromium = await player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await chromium.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        page.set_default_timeout(15_000)
        try:
            yield page
        finally:
            await chromium.close()


async def opened(page: Page, made: World, url: str, job_id: str = "") -> None:
    await page.goto(f"{url}/#{job_id}")
    await page.get_by_label("API key").fill(made.key)
    await page.get_by_role("button", name="Open").click()


async def job_of(made: World) -> tuple[str, Driver]:
    job_id, driver = await made.started()
    await driver.say(step(2), ALARM, step(3, loss=1.5), COMPARED, SAMPLED)
    return job_id, driver


async def test_a_job_grows_live_and_says_what_it_found(world):
    made, url = world
    job_id, driver = await job_of(made)
    async with browser() as page:
        faults: list[str] = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        await opened(page, made, url, job_id)
        await expect(page.get_by_role("heading", name=f"sums ({job_id})")).to_be_visible()
        await expect(page.locator("#alarms")).to_contain_text("truncated 0.900 (threshold 0.7)")
        await expect(page.locator("#alarms")).to_contain_text("raise the limit")
        await expect(page.locator("#results")).to_contain_text("reward")
        await expect(page.locator("#results")).to_contain_text("0.100 … 0.300")
        samples = page.locator("#samples")
        await expect(samples).to_contain_text("<b>who</b>?")  # shown, not obeyed
        await expect(samples).to_contain_text("chrf 0.250")
        await expect(page.get_by_text("sft: Loss")).to_be_visible()

        await driver.say(AlarmCleared(stage="sft", step=4, alarm="truncated"), step(4, loss=1.25))
        await expect(page.locator("#alarms")).to_be_hidden()
        await expect(page.locator("#charts")).to_contain_text("1.25")
        assert not faults


async def test_the_report_is_saved_from_the_page(world):
    made, url = world
    job_id, _ = await job_of(made)
    async with browser() as page:
        await opened(page, made, url, job_id)
        await expect(page.locator("#samples")).to_be_visible()
        async with page.expect_download() as saving:
            await page.get_by_role("button", name="Report").click()
        saved = await saving.value
        assert saved.suggested_filename == f"{job_id}-report.html"
        text = (await saved.path()).read_text(encoding="utf-8")
        assert "<html" in text and "sums" in text


async def test_a_wrong_key_is_refused_and_asked_for_again(world):
    made, url = world
    async with browser() as page:
        await page.goto(url)
        await page.get_by_label("API key").fill("rlhf_wrong")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("alert")).not_to_be_empty()
        await opened(page, made, url)
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone_and_names_every_control(world, scheme):
    made, url = world
    job_id, _ = await job_of(made)
    async with browser(width=360, scheme=scheme) as page:
        await opened(page, made, url, job_id)
        await expect(page.locator("#samples")).to_be_visible()
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        unnamed = await page.evaluate(
            """[...document.querySelectorAll("button, input, a, th")].filter((e) =>
                 !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label"))).length"""
        )
        assert unnamed == 0
        ink, paper = await page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
        )
        assert ink != paper
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement !== document.body")
