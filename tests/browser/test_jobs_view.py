"""Signing in, the list of jobs, and their comparison."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import opened
from tests.browser.stories import WORK, evaluated, grpo_job, ppo_step, two_stages

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_wrong_key_is_refused_and_asked_for_again(site, chromium):
    async with opened(site, chromium) as window:  # refusals are console errors
        page = window.page
        await page.goto(site.url)
        await expect(page.get_by_label("API key")).to_be_focused()
        await page.get_by_label("API key").fill("rlhf_wrong")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("alert")).not_to_be_empty()
        await page.get_by_label("API key").fill(site.world.key)
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        await page.get_by_role("button", name="Forget key").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0


async def test_the_ray_dashboard_opens_with_the_pages_own_key(site, window):
    page = await window.go()
    async with page.context.expect_page() as opening:
        await page.get_by_role("link", name="Ray").click()
    tab = await opening.value
    # No cluster stands behind this service: what is seen of the dashboard is that it may be asked.
    await tab.wait_for_url(f"{site.url}/ray/")
    await expect(tab.locator("body")).to_contain_text("Ray's dashboard does not answer")
    (cookie,) = await page.context.cookies(f"{site.url}/ray/")
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/ray", True, "Strict")
    assert await page.locator("form[action='/ray/session']").count() == 0


async def test_jobs_show_their_state_live_and_are_filtered(site, window):
    job_id, driver = await grpo_job(site.world)
    await site.world.submit(name="Later")
    page = await window.go()
    row = page.get_by_role("row", name=re.compile("sums"))
    await expect(row).to_contain_text("Running")
    await expect(row).to_contain_text("grpo 2 / 20 · stage 2 of 2")
    await driver.say(ppo_step(3, 0.5))
    await expect(row).to_contain_text("grpo 3 / 20")
    await page.get_by_label("Find jobs").fill("lat")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("Later")
    await page.get_by_label("Find jobs").fill("")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.get_by_role("radio", name="Failed").check()
    await expect(page.get_by_text("No job matches.")).to_be_visible()
    await page.get_by_role("radio", name="Active").check()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await row.get_by_role("link", name="sums").click()
    await expect(page.get_by_role("heading", name="sums")).to_be_focused()
    assert job_id in page.url


@pytest.mark.parametrize("width", [360, 1200])
async def test_a_waiting_job_says_what_it_waits_for(site, chromium, width):
    job_id, _ = await grpo_job(site.world)
    await site.world.submit(name="Later", after=[job_id])
    await site.world.turn()
    async with opened(site, chromium, width) as window:
        page = await window.go()
        row = page.locator("tbody tr", has=page.get_by_text("Later"))
        why = row.get_by_text(re.compile("waits for|waiting for"))
        await expect(why).to_be_visible()
        await expect(why).to_contain_text(job_id)
        told, name = await why.bounding_box(), await row.get_by_text("Later").bounding_box()
        assert told["x"] + told["width"] <= width
        assert (told["y"] > name["y"] + name["height"]) or width == 1200  # in a line of its own
        assert window.faults == []


async def test_jobs_are_chosen_and_compared_on_one_chart(site, window):
    world = site.world
    first, driver = await grpo_job(world, name="first")
    second, other = await grpo_job(world, (0.5, 0.75), name="second", seed=7)
    await driver.say(evaluated(20, 0.5, "ella"))
    page = await window.go()
    await page.get_by_label("Compare first").check()
    await expect(page.get_by_text("Choose one more to compare")).to_be_visible()
    await page.get_by_label("Compare second").check()
    await page.get_by_role("link", name="Compare on one chart").click()
    big = page.locator(".compared figure")
    await expect(big.locator("path.series")).to_have_count(2)
    await expect(big.locator(".legend")).to_contain_text(
        re.compile(r"second 0\.75.*first 0\.25|first 0\.25.*second 0\.75")
    )
    await other.say(ppo_step(3, 0.875))
    await expect(big.locator(".legend")).to_contain_text("second 0.875", timeout=10_000)
    await page.get_by_label("Figure").select_option("Throughput: sampling")
    await expect(big.locator(".legend")).to_contain_text("second 900")
    await driver.say(ppo_step(3, 0.5, **WORK))
    await other.say(ppo_step(4, 0.5, **{**WORK, "flops_per_second": 1e10}))
    await page.get_by_label("Figure").select_option("Useful work: whole step", timeout=10_000)
    await expect(big.locator(".legend")).to_contain_text(
        re.compile(r"second 0\.125.*first 0\.25|first 0\.25.*second 0\.125"), timeout=10_000
    )
    differs = page.get_by_role("table", name="Fields that differ")
    await expect(differs.get_by_role("row", name=re.compile("^seed"))).to_contain_text("7")
    assert await differs.get_by_role("row", name=re.compile("^stages")).count() == 0
    results = page.get_by_role("table", name=re.compile("Held-out results"))
    await expect(results.get_by_role("row", name=re.compile("first reward"))).to_contain_text(
        "0.5 ± 0.031"
    )
    await page.get_by_role("link", name="Leave second out").click()
    await expect(page.get_by_label("Compare with")).to_be_visible()
    assert first in page.url and second not in page.url


async def test_no_more_than_five_are_compared(site, window):
    for number in range(6):
        await site.world.submit(name=f"job {number}", stages=two_stages(site.world))
    page = await window.go()
    for number in range(5):
        await page.get_by_label(f"Compare job {number}").check()
    await expect(page.get_by_label("Compare job 5")).to_be_disabled()
    await page.get_by_role("button", name="Clear").click()
    await expect(page.get_by_label("Compare job 5")).to_be_enabled()
