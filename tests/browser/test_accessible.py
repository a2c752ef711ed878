"""Every view for everybody: a phone, either scheme, a keyboard, a screen reader, little motion."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import opened
from tests.browser.stories import (
    ALARM,
    COMPARED,
    QUARANTINED,
    WORK,
    drawn,
    evaluated,
    grpo_job,
    ppo_step,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNNAMED = """
[...document.querySelectorAll("a, button, input, select, textarea, summary, progress, dialog, table,"
  + "[role=slider], [role=tab], [role=tabpanel], [role=tablist], [role=region], [tabindex='0']")]
  .filter(e => e.checkVisibility() && !(
    e.getAttribute("aria-label") || e.labels?.length || e.caption?.textContent.trim()
    || (e.getAttribute("aria-labelledby") ?? "").split(" ")
         .some(id => id && document.getElementById(id)?.textContent.trim())
    || (!["INPUT", "SELECT", "TEXTAREA", "PROGRESS", "TABLE"].includes(e.tagName)
        && e.textContent.trim())))
  .map(e => e.outerHTML.slice(0, 120))
"""
IDS = """
(all => [
  ...all.filter((id, i) => all.indexOf(id) !== i).map(id => `twice: ${id}`),
  ...[...document.querySelectorAll("[aria-labelledby], [aria-controls], [aria-describedby], [for]")]
    .flatMap(e => ["aria-labelledby", "aria-controls", "aria-describedby", "for"]
      .map(n => e.getAttribute(n)).filter(Boolean))
    .filter(id => !document.getElementById(id)).map(id => `nothing has id ${id}`),
])([...document.querySelectorAll("[id]")].map(e => e.id))
"""
# WCAG 2.2, 1.4.3: 4.5 to 1 for text.
FAINT = """
(() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = colour => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter(e => e.checkVisibility() && !e.closest(":disabled")
      && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => {
      const style = getComputedStyle(e), ink = rgba(e instanceof SVGElement ? style.fill : style.color);
      const [a, b] = [light(ink), light(behind(e))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 100)];
    }).filter(([ratio]) => ratio < 4.5);
})()
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def sound(page, where):
    assert await page.evaluate(UNNAMED) == [], where
    assert await page.evaluate(IDS) == [], where
    assert await page.evaluate(FAINT) == [], where
    assert await page.evaluate(OVERFLOW) <= 0, where
    assert await page.locator("h2").count() == 1, where


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1200, "dark")])
async def test_every_view_is_named_legible_and_fits(site, chromium, width, scheme):
    world = site.world
    job_id, driver = await grpo_job(world, name="a-name-that-is-long-enough-to-be-cut-somewhere")
    await driver.say(drawn(1, "x" * 300), evaluated(20, 0.5, "ella"), COMPARED, ALARM, QUARANTINED)
    await driver.say(ppo_step(3, 0.5, **WORK))
    other, _ = await grpo_job(world)
    async with opened(site, chromium, width, scheme) as window:
        page = window.page
        await page.goto(site.url)
        await expect(page.get_by_label("API key")).to_be_visible()
        await sound(page, "sign in")
        await window.go()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await sound(page, "jobs")
        await window.go(job_id)
        await expect(page.locator("figure.chart:visible").first).to_be_visible()
        await page.get_by_role("button", name="Reward as a table").click()
        for name in (
            "Charts",
            "Evaluation",
            "Samples",
            "Checkpoints",
            "Preflight",
            "Events",
            "Details",
        ):
            await window.tab(name)
            await sound(page, name)
        paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, paper[4:-1].split(","))) < 64) == (scheme == "dark")
        await window.go(f"compare={job_id},{other}")
        await expect(page.locator(".compared path.series")).to_have_count(2)
        await expect(page.get_by_role("table", name="Fields that differ")).to_be_visible()
        await sound(page, "compare")
        await window.go("submit")
        await expect(page.locator(".recipe").first).to_be_visible(timeout=30_000)
        await page.get_by_role("button", name="Submit").click()
        await expect(page.locator(".faults li").first).to_be_visible()
        await sound(page, "submit")
        assert window.faults == []


async def test_a_job_is_reached_and_read_without_a_pointer(site, window):
    await grpo_job(site.world)
    page = await window.go()
    await expect(page.get_by_role("heading", name="Jobs")).to_be_focused()
    names: list[str] = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        names.append(
            await page.evaluate(
                "document.activeElement.textContent || document.activeElement.ariaLabel"
            )
        )
        if names[-1] == "sums":
            break
    assert names[-1] == "sums" and "New job" in names
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="sums")).to_be_focused()
    charts = page.get_by_role("tab", name="Charts")
    await charts.focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Evaluation")).to_be_focused()
    await expect(page.get_by_role("tabpanel", name="Evaluation")).to_be_visible()
    await page.keyboard.press("End")
    await expect(page.get_by_role("tabpanel", name="Details")).to_be_visible()
    assert await charts.get_attribute("tabindex") == "-1"


@pytest.mark.parametrize(("motion", "moving"), [("reduce", 0), ("no-preference", 1)])
async def test_nothing_moves_for_who_asks_so(site, chromium, motion, moving):
    job_id, _ = await grpo_job(site.world)
    async with opened(site, chromium, motion=motion) as window:
        page = await window.go(job_id)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        endless = (
            "document.getAnimations().filter(a => a.effect.getTiming().iterations === Infinity)"
        )
        assert await page.evaluate(f"{endless}.length") == moving
