"""A job's view: what can be asked of it, and what is left of it after."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from rlhf_service.events import JobStopped
from rlhf_service.job import StopReason
from tests.browser.stories import COMPARED, STEPS, evaluated, grpo_job

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_failure_says_why_and_what_to_do(site, window):
    job_id, driver = await grpo_job(site.world)
    message = "stage grpo, step 3: the policy loss is NaN"
    await driver.say(JobStopped(reason=StopReason.NON_FINITE_LOSS, message=message))
    site.world.launcher.attempts[driver.submission_id].log = "one\nlast words"
    page = await window.go(job_id)
    await expect(page.get_by_role("status").get_by_text("Running")).to_be_visible()
    site.world.launcher.end(driver.submission_id)
    await site.world.turn(3)
    why = page.get_by_role("region", name="Why it failed")
    await expect(why).to_contain_text(message)
    await expect(why).to_contain_text("What to do: A loss or gradient became infinite")
    await why.get_by_role("button", name="Log").click()
    await expect(why.get_by_label("Log of the newest attempt")).to_contain_text("last words")
    for verb in ("Pause", "Resume", "Cancel"):
        await expect(page.get_by_role("button", name=verb, exact=True)).to_be_hidden()
    await why.get_by_role("link", name="Edit and submit a copy").click()
    await expect(page.get_by_label("The job as YAML or JSON")).to_have_value(re.compile('"grpo"'))


async def test_pause_resume_and_cancel_with_a_question(site, window):
    job_id, _ = await grpo_job(site.world)
    page = await window.go(job_id)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("status").get_by_text("Pausing")).to_be_visible()
    await site.world.turn(3)
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel sums?")
    await expect(dialog.get_by_role("button", name="Keep it running")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert (await site.world.job(job_id))["status"] == "queued"
    await page.get_by_role("button", name="Cancel").click()
    await dialog.get_by_role("button", name="Cancel the job").click()
    await expect(page.get_by_role("status").get_by_text("Cancelled")).to_be_visible()


async def test_the_report_opens_with_its_own_look_and_is_saved(site, window):
    job_id, driver = await grpo_job(site.world)
    await driver.say(evaluated(STEPS, 0.5, "ella"), COMPARED)
    page = await window.go(job_id)
    async with page.expect_popup() as opening:
        await page.get_by_role("link", name="Report", exact=True).click()
    report = await opening.value
    await expect(report.locator("svg").first).to_be_visible(timeout=30_000)
    await expect(report.locator("h1, h2").first).to_contain_text("sums")
    # Its inline styles were let in; scripts would not have been.
    assert await report.evaluate("getComputedStyle(document.body).maxWidth !== 'none'")
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Save report").click()
    saved = await saving.value
    assert saved.suggested_filename == f"{job_id}-report.html"
    assert "sums" in (await saved.path()).read_text(encoding="utf-8")


async def test_a_failed_job_is_retried_and_an_ended_one_deleted(site, window):
    world = site.world
    job_id, driver = await world.started(name="short-lived")
    await driver.say(JobStopped(reason=StopReason.OUT_OF_MEMORY, message="killed"))
    world.launcher.end(driver.submission_id)
    await world.turn(3)
    page = await window.go(job_id)
    await page.get_by_role("button", name="Retry").click()
    await expect(page).not_to_have_url(re.compile(job_id))
    await expect(page.get_by_role("heading", name="short-lived")).to_be_visible()
    again = page.url.split("#")[1]
    await expect(page.get_by_role("button", name="Retry")).to_be_hidden()
    await expect(page.get_by_role("button", name="Delete")).to_be_hidden()
    await window.tab("Details")
    await page.get_by_role("tabpanel", name="Details").get_by_role("link", name=job_id).click()
    await expect(page).to_have_url(re.compile(job_id))
    await world.ask(again, "cancel")
    await world.turn(3)
    await page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete short-lived?")
    await dialog.get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert [job["id"] for job in (await world.get("/v1/jobs"))["data"]] == [again]


async def test_nothing_asks_for_a_job_that_is_being_deleted(site, window):
    world = site.world
    job_id, _ = await world.started(name="short-lived")
    await world.ask(job_id, "cancel")
    await world.turn(3)
    gone, settled = asyncio.Event(), asyncio.Event()

    async def stream(route):
        await gone.wait()
        await route.continue_()

    async def job(route):
        if route.request.method != "DELETE":
            return await route.continue_()
        answer = await route.fetch()
        gone.set()
        await settled.wait()
        return await route.fulfill(response=answer)

    def end(request):
        if request.url.endswith("/stream"):
            settled.set()

    await window.page.route(f"**/v1/jobs/{job_id}/stream", stream)
    await window.page.route(f"**/v1/jobs/{job_id}", job)
    window.page.on("requestfinished", end)
    window.page.on("requestfailed", end)
    page = await window.go(job_id)
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


async def test_a_job_that_could_not_be_deleted_is_watched_on(site, window):
    world = site.world
    job_id, _ = await world.started(name="short-lived")
    page = await window.go(job_id)
    await expect(page.get_by_role("button", name="Delete")).to_be_hidden()
    await world.ask(job_id, "cancel")
    await world.turn(3)
    await expect(page.get_by_role("button", name="Delete")).to_be_enabled()
    # From here on the server says nothing of the job but its log: what the page knew, it still shows.
    refusal = {"detail": "the storage is gone"}
    await page.route(f"**/v1/jobs/{job_id}", lambda route: route.fulfill(status=503, json=refusal))
    await page.get_by_role("button", name="Delete").click()
    async with page.expect_request("**/stream"):
        await page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("alert").filter(has_text="the storage is gone")).to_be_visible()
    await expect(page.get_by_role("button", name="Delete")).to_be_enabled()
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert all("503" in fault for fault in window.faults) and window.faults
    window.faults.clear()
