"""The stream breaks and the page goes on: behind the last event, without gap or repeat."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import opened
from tests.browser.stories import grpo_job, ppo_step

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_after_a_break_the_log_goes_on_where_it_was(site, chromium):
    async with opened(site, chromium) as window:  # lost connections are console errors here
        job_id, driver = await grpo_job(site.world)
        page = await window.go(job_id)
        asked: list[str | None] = []
        page.on(
            "request",
            lambda r: asked.append(r.headers.get("last-event-id")) if "/stream" in r.url else None,
        )
        await window.tab("Events")
        await page.get_by_label("Steps too").check()
        events = page.locator(".events li")
        seen = (await site.world.job(job_id))["last_seq"]
        await expect(events).to_have_count(seen)
        await site.stop()
        await expect(page.get_by_text("Connection lost, trying again …")).to_be_visible()
        await driver.say(ppo_step(3, 0.75))  # while nobody listened
        await site.start()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=20_000)
        await expect(events).to_have_count(seen + 1)
        await expect(events.first).to_contain_text("reward 0.75")
        numbers = await events.evaluate_all("all => all.map(item => item.value)")
        assert numbers == list(range(seen + 1, 0, -1))
        assert asked[-1] == str(seen)
