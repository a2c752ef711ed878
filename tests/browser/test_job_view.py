"""A job's view: what its log says, live, and what can be asked of it."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from rlhf_service.events import JobStopped, StageStarted
from rlhf_service.job import StopReason
from tests.api.test_artefacts import save_checkpoint
from tests.api.world import Driver
from tests.browser.stories import (
    ADVICE,
    ALARM,
    CHECKPOINT,
    CLEARED,
    COMPARED,
    QUARANTINED,
    STEPS,
    WORK,
    drawn,
    evaluated,
    grpo_job,
    ppo_step,
)

pytestmark = pytest.mark.asyncio


def chart(page, title):
    return page.locator("figure.chart", has=page.get_by_text(title, exact=True)).locator(
        "visible=true"
    )


async def tab(page, name):
    await page.get_by_role("tab", name=name).click()


async def test_charts_grow_live_and_are_read_by_pointer_keys_and_table(site, window):
    job_id, driver = await grpo_job(site.world)
    page = await window.go(job_id)
    reward = chart(page, "Reward")
    await expect(reward.locator(".legend")).to_contain_text("score 0.25")
    plot = reward.get_by_role("slider")
    await expect(plot).to_have_attribute("aria-valuetext", re.compile("step 2: score 0.25"))
    await driver.say(*(ppo_step(n, n / 10) for n in range(3, 9)))
    await expect(plot).to_have_attribute("aria-valuemax", "8")
    await expect(reward.locator(".legend")).to_contain_text("score 0.8")

    await plot.focus()
    await page.keyboard.press("Home")
    await expect(plot).to_have_attribute("aria-valuenow", "1")
    await expect(reward.locator(".legend")).to_contain_text("score 0.125")
    # Every chart shows the step that one is read at.
    kl = chart(page, "KL to the reference").get_by_role("slider")
    await expect(kl).to_have_attribute("aria-valuenow", "1")
    await page.keyboard.press("ArrowRight")
    await expect(plot).to_have_attribute("aria-valuenow", "2")
    await page.keyboard.press("Escape")
    await expect(plot).to_have_attribute("aria-valuenow", "8")
    box = await plot.bounding_box()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    await expect(plot).to_have_attribute("aria-valuenow", re.compile("^[45]$"))

    await page.get_by_role("button", name="Reward as a table").click()
    rows = reward.locator("tbody tr")
    await expect(rows).to_have_count(8)
    await expect(rows.last).to_contain_text("0.125")
    # Figures that never moved take no room: GRPO has no critic, and nothing was truncated.
    assert await chart(page, "Value loss").count() == 0
    assert await chart(page, "Truncated responses").count() == 0
    await expect(chart(page, "Learning rate").locator(".legend li")).to_have_count(1)


async def test_useful_work_is_a_share_of_the_peak_that_was_measured(site, window):
    job_id, driver = await grpo_job(site.world)
    page = await window.go(job_id)
    await expect(chart(page, "Reward").locator(".legend")).to_contain_text("score 0.25")
    # Nothing was measured before the newer step.
    assert await chart(page, "Useful work").count() == 0
    assert await chart(page, "Arithmetic").count() == 0
    await driver.say(ppo_step(3, 0.5, **WORK, repetition=0.125, length_correlation=-0.5))
    share = chart(page, "Useful work")
    await expect(share.locator(".legend")).to_contain_text("whole step 0.25")
    await expect(share.locator(".legend")).to_contain_text("update 0.5")
    await expect(share).to_contain_text("share of the peak")
    arithmetic = chart(page, "Arithmetic").locator(".legend")
    for said in ("whole step 2.00e10", "update 4.00e10", "measured peak 8.00e10"):
        await expect(arithmetic).to_contain_text(said)
    await expect(chart(page, "Repetition").locator(".legend")).to_contain_text("seen before 0.125")
    await expect(chart(page, "Score against length").locator(".legend")).to_contain_text("−0.5")
    await page.get_by_role("button", name="Useful work as a table").click()
    await expect(share.locator("tbody tr").first).to_contain_text("0.25")
    phases = page.locator("figure.phases").locator("visible=true")
    await expect(phases).to_contain_text("Where a step's time goes")
    await expect(phases).to_contain_text("25 % of the measured peak is useful work")
    # What is known of a phase's inside is taken out of it.
    for said in ("generate 25 %", "decode tail 8.3 %", "update 50 %", "optimizer 17 %"):
        await expect(phases.locator(".legend")).to_contain_text(said)


async def test_the_newest_attempt_counts_and_late_news_of_an_older_one_does_not(site, window):
    job_id, driver = await grpo_job(site.world)
    page = await window.go(job_id)
    reward = chart(page, "Reward")
    await expect(reward.locator(".legend")).to_contain_text("score 0.25")
    site.world.launcher.crash(driver.submission_id)
    await site.world.turn(4)
    again = Driver(site.world, f"{job_id}-a2")
    await again.say(ppo_step(2, 0.625).model_copy(update={"replayed": True}))
    await expect(reward.locator(".legend")).to_contain_text("score 0.625")
    await driver.say(ppo_step(2, 0.0625), ALARM)  # the alarm shows that the step before it was seen
    await expect(page.get_by_role("region", name="Alarms")).to_contain_text("KL per token")
    await expect(reward.locator(".legend")).to_contain_text("score 0.625")
    await expect(reward.get_by_role("slider")).to_have_attribute("aria-valuemax", "2")


async def test_the_stages_are_told_apart(site, window):
    job_id, _ = await grpo_job(site.world)
    page = await window.go(job_id)
    stages = page.get_by_role("list", name="Stages").get_by_role("listitem")
    await expect(stages.nth(1)).to_contain_text(f"2 / {STEPS} steps")
    await expect(stages.nth(1)).to_contain_text("at work")
    await page.get_by_role("radio", name="sft").check()
    await expect(chart(page, "Loss").locator(".legend")).to_contain_text("training 1.5")
    assert await chart(page, "Reward").count() == 0


async def test_alarms_are_raised_with_advice_and_cleared(site, window):
    job_id, driver = await grpo_job(site.world)
    page = await window.go(job_id)
    alarms = page.get_by_role("region", name="Alarms")
    await expect(alarms).to_contain_text("The answer 'the prompt back' scores 0.75")
    await driver.say(ALARM, QUARANTINED)
    await expect(alarms).to_contain_text("KL per token in grpo, since step 2 (1.25, threshold 1)")
    await expect(alarms).to_contain_text(ADVICE[1:])
    await expect(alarms).to_contain_text("1 prompt of grpo set aside")
    await expect(alarms).to_contain_text("the service said 500")
    await driver.say(CLEARED)
    await expect(alarms).not_to_contain_text("KL per token")
    await page.get_by_text("1 alarm cleared").click()
    await expect(page.get_by_text("KL per token in grpo, steps 2 to 4")).to_be_visible()
    # What was said of a stage that is over makes room for the next.
    await driver.say(StageStarted(stage="rloo", kind="rloo", steps=2))
    await expect(alarms).to_have_text("")
    await page.get_by_text("2 notices of earlier stages").click()
    await expect(page.get_by_text("1 prompt of grpo set aside")).to_be_visible()


async def test_held_out_results_and_samples_side_by_side(site, window):
    job_id, driver = await grpo_job(site.world)
    await driver.say(drawn(1, "hm"), evaluated(STEPS, 0.5, "ella <i>"), COMPARED)
    page = await window.go(job_id)
    await tab(page, "Evaluation")
    table = page.get_by_role("table", name=re.compile("Before and after"))
    reward = table.get_by_role("row", name=re.compile("^reward"))
    for said in ("0.125", "0.5", "+0.375", "+0.25 … +0.438", "0.0002", "64", "higher"):
        await expect(reward).to_contain_text(said)
    await expect(table.get_by_role("row", name=re.compile("^chrf"))).to_contain_text("unclear")
    every = page.get_by_role("table", name="Every evaluation")
    await expect(every).to_contain_text("0.25 ± 0.063")
    await expect(page.locator("path.bar").first).to_be_attached()  # the standard error, drawn

    await tab(page, "Samples")
    card = page.get_by_role("article")
    await expect(card).to_have_count(1)
    await expect(card).to_contain_text("<b>who</b> =")  # shown, not obeyed
    sides = card.locator(".side")
    await expect(sides.nth(0)).to_contain_text("él")
    await expect(sides.nth(0).locator(".parts")).to_contain_text("chrf0.0625")
    await expect(sides.nth(1)).to_contain_text("ella <i>")
    await expect(sides.nth(1)).to_contain_text("+0.375")
    boxes = [await sides.nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    await page.get_by_label("Right").select_option("before the first step")
    await expect(sides.nth(1)).to_contain_text("él")
    await page.get_by_role("radio", name="While training").check()
    await expect(card).to_contain_text("cut off at the length limit")


async def test_preflight_events_checkpoints_and_specification(site, window):
    job_id, driver = await grpo_job(site.world)
    root = site.world.settings.folder(job_id).checkpoints
    save_checkpoint(root, "grpo", 2)
    page = await window.go(job_id)
    await tab(page, "Checkpoints")
    saved = page.get_by_role("tabpanel", name="Checkpoints").locator("tbody tr")
    await expect(saved).to_have_count(1)
    await expect(saved).to_contain_text("whole")
    save_checkpoint(root, "grpo", 4, manifest=False)
    await driver.say(CHECKPOINT, ALARM)
    await expect(saved).to_have_count(2)
    await expect(saved.first).to_contain_text("damaged")
    await tab(page, "Preflight")
    panel = page.get_by_role("tabpanel", name="Preflight")
    await expect(panel).to_contain_text("37.5 %")
    await expect(panel.get_by_role("row", name=re.compile("the prompt back"))).to_contain_text(
        "pays more than sampling"
    )
    await tab(page, "Events")
    events = page.locator(".events li")
    await expect(events.first).to_contain_text("KL per token 1.25 (threshold 1)")
    without = await events.count()
    await page.get_by_label("Steps too").check()
    await expect(events).to_have_count(without + 4)
    await page.get_by_label("Find").fill("checkpoint")
    await expect(events).to_have_count(1)
    await tab(page, "Details")
    details = page.get_by_role("tabpanel", name="Details")
    await expect(details.get_by_label("The specification as JSON")).to_contain_text(
        '"type": "grpo"'
    )


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
    await tab(page, "Details")
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
