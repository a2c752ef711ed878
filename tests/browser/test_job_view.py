"""A job's view: what its log says, live."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from rlhf_service.events import StageStarted
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

pytestmark = pytest.mark.asyncio(loop_scope="session")


def chart(page, title):
    return page.locator("figure.chart", has=page.get_by_text(title, exact=True)).locator(
        "visible=true"
    )


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
    await window.tab("Evaluation")
    table = page.get_by_role("table", name=re.compile("Before and after"))
    reward = table.get_by_role("row", name=re.compile("^reward"))
    for said in ("0.125", "0.5", "+0.375", "+0.25 … +0.438", "0.0002", "64", "higher"):
        await expect(reward).to_contain_text(said)
    await expect(table.get_by_role("row", name=re.compile("^chrf"))).to_contain_text("unclear")
    every = page.get_by_role("table", name="Every evaluation")
    await expect(every).to_contain_text("0.25 ± 0.063")
    await expect(page.locator("path.bar").first).to_be_attached()  # the standard error, drawn

    await window.tab("Samples")
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
    await window.tab("Checkpoints")
    saved = page.get_by_role("tabpanel", name="Checkpoints").locator("tbody tr")
    await expect(saved).to_have_count(1)
    await expect(saved).to_contain_text("whole")
    save_checkpoint(root, "grpo", 4, manifest=False)
    await driver.say(CHECKPOINT, ALARM)
    await expect(saved).to_have_count(2)
    await expect(saved.first).to_contain_text("damaged")
    await window.tab("Preflight")
    panel = page.get_by_role("tabpanel", name="Preflight")
    await expect(panel).to_contain_text("37.5 %")
    await expect(panel.get_by_role("row", name=re.compile("the prompt back"))).to_contain_text(
        "pays more than sampling"
    )
    await window.tab("Events")
    events = page.locator(".events li")
    await expect(events.first).to_contain_text("KL per token 1.25 (threshold 1)")
    without = await events.count()
    await page.get_by_label("Steps too").check()
    await expect(events).to_have_count(without + 4)
    await page.get_by_label("Find").fill("checkpoint")
    await expect(events).to_have_count(1)
    await window.tab("Details")
    details = page.get_by_role("tabpanel", name="Details")
    await expect(details.get_by_label("The specification as JSON")).to_contain_text(
        '"type": "grpo"'
    )
